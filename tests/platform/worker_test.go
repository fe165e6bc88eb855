package platform_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// What each behaviour makes of a start: the replies, as payload and error, and
// the machine. Other errors are told apart by TestLifecycleWorker of tests/faults.
func TestBehavioursStrike(t *testing.T) {
	const accepted, none = `{"accepted":true,"action":"start"} `, `{} `
	refuse := func(e platform.EventError) platform.Behaviour {
		e.Code, e.Message = "no_capacity", "none left"
		return platform.Behaviour{Refuse: &e}
	}
	for name, c := range map[string]struct {
		behaviour platform.Behaviour
		want      []string
		state     string
	}{
		"well":             {platform.Behaviour{}, []string{accepted}, "ready"},
		"deaf":             {platform.Behaviour{Deaf: true}, nil, "stopped"},
		"silent":           {platform.Behaviour{Silent: true}, nil, "ready"},
		"duplicate":        {platform.Behaviour{Duplicate: 1}, []string{accepted, accepted}, "ready"},
		"held":             {platform.Behaviour{Hold: 2}, []string{accepted}, "ready"},
		"payload replaced": {platform.Behaviour{Payload: json.RawMessage(`"what"`)}, []string{`"what" `}, "ready"},
		"error with code":  {refuse(platform.EventError{WithCode: true}), []string{none + `{"code":"no_capacity","message":"none left"}`}, "stopped"},
		"error in payload": {refuse(platform.EventError{AsText: true, InPayload: true}), []string{`{"error":"no_capacity: none left"} `}, "stopped"},
		"of another name":  {platform.Behaviour{Deaf: true, Names: []string{platform.StopRequest}}, []string{accepted}, "ready"},
		"echo": {platform.Behaviour{Echo: true}, []string{
			`{"accepted":true,"action":"start","details":{"account_id":"` + account + `","correlation_id":"c","request_id":"r"}} `,
		}, "ready"},
	} {
		t.Run(name, func(t *testing.T) {
			p := begin(t)
			replies := listen(t, p, "", "delivery=broadcast&name="+platform.ReplyName(platform.StartRequest))
			statuses := listen(t, p, "", "delivery=broadcast&name="+platform.ReplyName(platform.StatusRequest))
			p.VM.SetBehaviour(c.behaviour)
			write := object{"runtime": "default", "account_id": account, "request_id": "r"}
			send(t, p, platform.StartRequest, "c", write)
			require.NoError(t, p.VM.WaitAsked(within(t), platform.StartRequest, 1))
			p.VM.SetBehaviour() // releases what is held
			send(t, p, platform.StatusRequest, "s", write)
			require.JSONEq(t, `{"state":"`+c.state+`","provider":"fake"}`, string(statuses.event(t).Payload))
			for _, want := range c.want {
				got := replies.event(t)
				require.Equal(t, "c", got.CorrelationID)
				require.Equal(t, want, string(got.Payload)+" "+string(got.Error))
			}
			send(t, p, platform.StartRequest, "after", write)
			require.Equal(t, []string{"after"}, replies.correlations(t, 1))
		})
	}
}

// What a bug of the provider would do is noted: a write published twice or for
// no account, another runtime, a check of no scope. A repeated read is none, nor is
// an event that the API delivers twice.
func TestWorkersNoteBreaches(t *testing.T) {
	p := begin(t)
	ask := func(worker *platform.Worker, name, correlation string, payload object) {
		t.Helper()
		n := len(worker.Asked(name))
		send(t, p, name, correlation, payload)
		require.NoError(t, worker.WaitAsked(within(t), name, n+1))
	}
	write := object{"runtime": "default", "account_id": account, "request_id": "r"}
	ask(p.VM.Worker, platform.StartRequest, "fine", write)
	ask(p.VM.Worker, platform.StatusRequest, "fine", object{"runtime": "default"})
	ask(p.VM.Worker, platform.StatusRequest, "fine", object{"runtime": "default"})
	ask(p.Billing.Worker, platform.EntitlementRequest, "fine", object{"account_id": account, "scope": "vm:write"})
	p.Events.SetFaults(platform.Faults{Duplicate: true, Names: []string{platform.StopRequest}})
	ask(p.VM.Worker, platform.StopRequest, "delivered twice", write)
	require.NoError(t, p.VM.WaitAsked(within(t), platform.StopRequest, 2))
	p.Events.SetFaults(platform.Faults{})
	require.Empty(t, p.Check())

	ask(p.VM.Worker, platform.StartRequest, "fine", write)
	ask(p.VM.Worker, platform.StopRequest, "unnamed", object{"runtime": "default"})
	ask(p.VM.Worker, platform.StatusRequest, "elsewhere", object{"runtime": "other"})
	ask(p.Billing.Worker, platform.EntitlementRequest, "noscope", object{"account_id": account})
	got := p.Check()
	slices.Sort(got)
	require.Equal(t, []string{
		platform.EntitlementRequest + ` noscope: account_id must be a UUID and scope vm:write: {"account_id":"` + account + `"}`,
		platform.StartRequest + ` fine: published twice under one correlation id`,
		platform.StatusRequest + ` lsewhere: the runtime must be "default": {"runtime":"other"}`,
		platform.StopRequest + ` unnamed: account_id and request_id are required: {"runtime":"default"}`,
	}, got)
}

// Check against what is on record, as `phase@event_id` deliveries of one
// operation in the order they come; `phase@event_id~other` corrects another, and
// `?` at the end is a duration where none belongs, or none where it belongs.
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
		"work that was refused":     {"requested@1 finished@2", platform.WantNothing, []string{"refused"}},
		"one id, two contents":      {"requested@1 finished@1", platform.WantWhole, []string{"0 terminal", "another content"}},
		"content of an id changed":  {"requested@1 finished@2 failed@2", platform.WantFinished, []string{"another content"}},
		"a request that took time":  {"requested@1?", platform.WantNothing, []string{"duration_ms"}},
		"an end that took none":     {"requested@1 finished@2?", platform.WantFinished, []string{"duration_ms", "0 terminal", "not on record as finished"}},
		"not in the taxonomy":       {"aborted@1", platform.WantNothing, []string{"not in the taxonomy"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := begin(t)
			for i, d := range strings.Fields(c.deliveries) {
				delivery, mistimed := strings.CutSuffix(d, "?")
				phase, id, _ := strings.Cut(delivery, "@")
				id, corrected, corrects := strings.Cut(id, "~")
				data := object{"request_id": "r", "action": "start", "runtime": "default"}
				if outcome := map[string]string{"finished": "accepted", "failed": "unknown"}[phase]; outcome != "" {
					data["outcome"] = outcome
				}
				if (data["outcome"] != nil) != mistimed {
					data["duration_ms"] = 7
				}
				if corrects {
					data["corrects"] = "e" + corrected
				}
				send(t, p, platform.UsageRequest, d, object{
					"event_id": "e" + id, "event_type": "runtime_start_" + phase, "account_id": account, "occurred_at": "2026-01-02T03:04:05.678Z", "data": data,
				})
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
