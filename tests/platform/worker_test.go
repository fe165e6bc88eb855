package platform_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// What each behaviour makes of a start: the replies, as payload and error, what
// became of the request, and the machine.
func TestBehavioursStrike(t *testing.T) {
	const accepted, none = `{"accepted":true,"action":"start"} `, `{} `
	refuse := func(form platform.ErrorForm, inPayload bool) platform.Behaviour {
		return platform.Behaviour{Refuse: &platform.EventError{Code: "no_capacity", Message: "none left", Form: form, InPayload: inPayload}}
	}
	for name, c := range map[string]struct {
		behaviour platform.Behaviour
		want      []string
		fate      platform.Fate
		state     string
	}{
		"well":              {platform.Behaviour{}, []string{accepted}, platform.Answered, "ready"},
		"deaf":              {platform.Behaviour{Deaf: true}, nil, platform.Ignored, "stopped"},
		"silent":            {platform.Behaviour{Silent: true}, nil, platform.Withheld, "ready"},
		"duplicate":         {platform.Behaviour{Duplicate: 1}, []string{accepted, accepted}, platform.Answered, "ready"},
		"held":              {platform.Behaviour{Hold: 2}, []string{accepted}, platform.Answered, "ready"},
		"payload replaced":  {platform.Behaviour{Payload: json.RawMessage(`"what"`)}, []string{`"what" `}, platform.Answered, "ready"},
		"error with type":   {refuse(platform.ErrorWithType, false), []string{none + `{"message":"none left","type":"no_capacity"}`}, platform.Refused, "stopped"},
		"error with code":   {refuse(platform.ErrorWithCode, false), []string{none + `{"code":"no_capacity","message":"none left"}`}, platform.Refused, "stopped"},
		"error as text":     {refuse(platform.ErrorText, false), []string{none + `"no_capacity: none left"`}, platform.Refused, "stopped"},
		"error in payload":  {refuse(platform.ErrorText, true), []string{`{"error":"no_capacity: none left"} `}, platform.Refused, "stopped"},
		"of another name":   {platform.Behaviour{Deaf: true, Names: []string{platform.StopRequest}}, []string{accepted}, platform.Answered, "ready"},
		"of another caller": {platform.Behaviour{Deaf: true, Accounts: []string{"someone"}}, []string{accepted}, platform.Answered, "ready"},
		"echo": {platform.Behaviour{Echo: true}, []string{
			`{"accepted":true,"action":"start","details":{"account_id":"` + account + `","correlation_id":"c","request_id":"r"}} `,
		}, platform.Answered, "ready"},
	} {
		t.Run(name, func(t *testing.T) {
			p, c1 := startPlatform(t)
			replies := listen(t, p.Events, "", "name="+platform.ReplyName(platform.StartRequest))
			p.VM.SetBehaviour(c.behaviour)
			ask := func(correlation string) {
				_, err := c1.Publish(within(t), platform.Message{Name: platform.StartRequest, CorrelationID: correlation,
					Payload: object{"runtime": "default", "account_id": account, "request_id": "r"}})
				require.NoError(t, err)
			}
			ask("c")
			require.NoError(t, p.VM.WaitAsked(within(t), platform.StartRequest, 1))
			require.Equal(t, c.state, p.VM.State())
			require.Equal(t, c.fate, p.VM.Asked(platform.StartRequest)[0].Fate)
			p.VM.SetBehaviour() // releases what is held
			for _, want := range c.want {
				var got platform.Envelope
				require.NoError(t, json.Unmarshal([]byte(replies.line(t)), &got))
				require.Equal(t, "c", got.CorrelationID)
				require.Equal(t, want, string(got.Payload)+" "+string(got.Error))
			}
			ask("after")
			require.Equal(t, []string{"after"}, replies.correlations(t, 1))
		})
	}
}

// What a bug of the provider would do is noted: a write published twice or for
// nobody, another runtime, a check of no scope. A repeated read is none, nor is
// an event that the API delivers twice.
func TestWorkersNoteBreaches(t *testing.T) {
	p, c := startPlatform(t)
	asked := map[string]int{}
	ask := func(name, correlation string, payload object) {
		t.Helper()
		_, err := c.Publish(within(t), platform.Message{Name: name, CorrelationID: correlation, Payload: payload})
		require.NoError(t, err)
		asked[name]++
		for _, w := range p.Workers()[:2] {
			if strings.HasPrefix(name, "bus.billing") == (w == p.Billing.Worker) {
				require.NoError(t, w.WaitAsked(within(t), name, asked[name]))
			}
		}
	}
	write := object{"runtime": "default", "account_id": account, "request_id": "r"}
	ask(platform.StartRequest, "fine", write)
	ask(platform.StatusRequest, "fine", object{"runtime": "default"})
	ask(platform.StatusRequest, "fine", object{"runtime": "default"})
	ask(platform.EntitlementRequest, "fine", object{"account_id": account, "scope": "vm:write"})
	p.Events.SetFaults(platform.Faults{Duplicate: true, Names: []string{platform.StopRequest}})
	ask(platform.StopRequest, "delivered twice", write)
	asked[platform.StopRequest]++
	require.NoError(t, p.VM.WaitAsked(within(t), platform.StopRequest, 2))
	p.Events.SetFaults(platform.Faults{})
	require.Empty(t, p.Check())
	require.Equal(t, map[string]int{"delivered twice": 1}, p.VM.Publishes(platform.StopRequest))

	ask(platform.StartRequest, "fine", write)
	ask(platform.StopRequest, "nobody", object{"runtime": "default"})
	ask(platform.StatusRequest, "elsewhere", object{"runtime": "other"})
	ask(platform.EntitlementRequest, "noscope", object{"account_id": account})
	got := p.Check()
	slices.Sort(got)
	require.Equal(t, []string{
		platform.EntitlementRequest + ` noscope: account_id must be a UUID and scope vm:write: {"account_id":"` + account + `"}`,
		platform.StartRequest + ` fine: published twice under one correlation id`,
		platform.StatusRequest + ` lsewhere: the runtime must be "default": {"runtime":"other"}`,
		platform.StopRequest + ` nobody: account_id and request_id are required: {"runtime":"default"}`,
	}, got)
}

// Check against what is on record, as `phase@event_id` deliveries of one
// operation in the order they come; `phase@event_id~other` corrects another.
func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		deliveries string
		want       platform.Want
		breaches   []string // what each must contain
	}{
		"finished":                  {"requested@1 finished@2", platform.WantFinished, nil},
		"failed":                    {"requested@1 failed@2", platform.WantFailed, nil},
		"closed by finished":        {"requested@1 finished@2", platform.WantClosed, nil},
		"closed by failed":          {"requested@1 failed@2", platform.WantClosed, nil},
		"nothing":                   {"", platform.WantNothing, nil},
		"whole and empty":           {"", platform.WantWhole, nil},
		"whole":                     {"requested@1 failed@2", platform.WantWhole, nil},
		"delivered again":           {"requested@1 requested@1 finished@2 finished@2 requested@1", platform.WantFinished, nil},
		"no record":                 {"", platform.WantFinished, []string{"no record"}},
		"open":                      {"requested@1", platform.WantFinished, []string{"0 terminal", "not on record as finished"}},
		"open, told of or not":      {"requested@1", platform.WantWhole, []string{"0 terminal"}},
		"end only":                  {"finished@2", platform.WantFinished, []string{"0 requested"}},
		"requested twice":           {"requested@1 requested@3 finished@2", platform.WantFinished, []string{"2 requested"}},
		"two ends":                  {"requested@1 finished@2 failed@3", platform.WantFinished, []string{"2 terminal"}},
		"corrected":                 {"requested@1 failed@2 finished@3~2", platform.WantClosed, nil},
		"corrected, delivered late": {"requested@1 finished@3~2 failed@2", platform.WantClosed, []string{"correction came before"}},
		"corrected twice":           {"requested@1 failed@2 finished@3~2 finished@4~2", platform.WantClosed, []string{"2 corrections"}},
		"what was known, corrected": {"requested@1 finished@2 finished@3~2", platform.WantFinished, []string{"which was known"}},
		"another record corrected":  {"requested@1 failed@2 finished@3~1", platform.WantClosed, []string{"the correction is of"}},
		"corrected to nothing":      {"requested@1 failed@2 failed@3~2", platform.WantClosed, []string{"knows no more"}},
		"wrong order":               {"finished@2 requested@1", platform.WantFinished, []string{"before the requested"}},
		"accepted, but failed":      {"requested@1 failed@2", platform.WantFinished, []string{"not on record as finished"}},
		"failed, but finished":      {"requested@1 finished@2", platform.WantFailed, []string{"not on record as failed"}},
		"work for nobody":           {"requested@1 finished@2", platform.WantNothing, []string{"refused"}},
		"one id, two contents":      {"requested@1 finished@1", platform.WantWhole, []string{"0 terminal", "another content"}},
		"content of an id changed":  {"requested@1 finished@2 failed@2", platform.WantFinished, []string{"another content"}},
		"not in the taxonomy":       {"aborted@1", platform.WantNothing, []string{"not in the taxonomy"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, c1 := startPlatform(t)
			deliveries := strings.Fields(c.deliveries)
			for i, d := range deliveries {
				phase, id, _ := strings.Cut(d, "@")
				id, corrected, corrects := strings.Cut(id, "~")
				data := object{"request_id": "r", "action": "start", "runtime": "default"}
				switch phase {
				case "finished":
					data["outcome"] = "accepted"
				case "failed":
					data["outcome"] = "unknown"
				}
				if corrects {
					data["corrects"] = "e" + corrected
				}
				_, err := c1.Publish(within(t), platform.Message{Name: platform.UsageRequest, CorrelationID: d, Payload: object{
					"event_id": "e" + id, "event_type": "runtime_start_" + phase, "account_id": account, "occurred_at": "2026-01-02T03:04:05.678Z", "data": data,
				}})
				require.NoError(t, err)
				require.NoError(t, p.Usage.WaitAsked(within(t), platform.UsageRequest, i+1))
			}
			got := p.Check(platform.Operation{Account: account, RequestID: "r", Action: "start", Want: c.want})
			require.Len(t, got, len(c.breaches))
			for _, want := range c.breaches {
				require.True(t, slices.ContainsFunc(got, func(b string) bool { return strings.Contains(b, want) }), "no %q in %q", want, got)
			}
		})
	}
}
