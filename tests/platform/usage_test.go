package platform_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

func TestUsageIsStoredOnceByEventID(t *testing.T) {
	p := startPlatform(t, platform.Config{})
	a := newAsker(t, p)
	first := a.ask(platform.UsageRequest, "x")
	equal(t, "first", first.Payload, any(object{"recorded": true, "event_id": "e-x", "duplicate": false}))
	again := a.ask(platform.UsageRequest, "x")
	equal(t, "again", again.Payload, any(object{"recorded": true, "event_id": "e-x", "duplicate": true}))
	p.Usage.SetBehaviour(platform.Behaviour{Refuse: &platform.EventError{Code: "storage_unavailable"}})
	a.ask(platform.UsageRequest, "y")
	at, err := time.Parse(time.RFC3339, "2026-01-02T03:04:05.678Z")
	must(t, err)
	want := []platform.UsageRecord{{
		EventID: "e-x", EventType: "runtime_start_requested", Account: account, OccurredAt: at, RequestID: "r-x",
		Data:  object{"request_id": "r-x", "action": "start", "runtime": "default"},
		Order: 1, Deliveries: 2,
	}}
	equal(t, "records", p.Usage.Records(), want)
	equal(t, "by account", p.Usage.RecordsOf(account), want)
	equal(t, "by request", p.Usage.RecordsFor("r-x"), want)
	equal(t, "of others", append(p.Usage.RecordsOf("other"), p.Usage.RecordsFor("r-y")...), nil)
	var fates []platform.Fate
	for _, req := range p.Usage.Asked(platform.UsageRequest) {
		fates = append(fates, req.Fate)
	}
	equal(t, "fates", fates, []platform.Fate{platform.Answered, platform.Answered, platform.Refused})
}

func TestUsageRefusesWhatIsNoRecord(t *testing.T) {
	data := func(payload object) object { return payload["data"].(object) }
	for name, spoil := range map[string]func(object){
		"event_type":       func(o object) { o["event_type"] = "container_run_finished" },
		"event_id":         func(o object) { delete(o, "event_id") },
		"account":          func(o object) { o["account_id"] = "{" + account + "}" },
		"time":             func(o object) { o["occurred_at"] = 1700000000 },
		"date only":        func(o object) { o["occurred_at"] = "2026-01-02" },
		"data":             func(o object) { o["data"] = "text" },
		"request":          func(o object) { delete(data(o), "request_id") },
		"runtime":          func(o object) { delete(data(o), "runtime") },
		"another action":   func(o object) { data(o)["action"] = "stop" },
		"no outcome":       func(o object) { delete(data(o), "outcome") },
		"finished unknown": func(o object) { data(o)["outcome"] = "unknown" },
		"failed accepted":  func(o object) { o["event_type"] = "runtime_start_failed" },
	} {
		t.Run(name, func(t *testing.T) {
			p := startPlatform(t, platform.Config{})
			a := newAsker(t, p)
			payload := usagePayload("e", "runtime_start_finished", "r")
			spoil(payload)
			send(t, a.client, platform.UsageRequest, "c", payload)
			if a.next(platform.UsageRequest).Error == nil {
				t.Fatal("recorded")
			}
			equal(t, "breaches", len(p.Usage.Violations()), 1)
			equal(t, "records", p.Usage.Records(), nil)
		})
	}
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
	} {
		t.Run(name, func(t *testing.T) {
			p := startPlatform(t, platform.Config{})
			a := newAsker(t, p)
			for _, d := range strings.Fields(c.deliveries) {
				phase, id, _ := strings.Cut(d, "@")
				id, corrected, corrects := strings.Cut(id, "~")
				payload := usagePayload("e"+id, "runtime_start_"+phase, "r")
				if corrects {
					payload["data"].(map[string]any)["corrects"] = "e" + corrected
				}
				send(t, a.client, platform.UsageRequest, d, payload)
				a.next(platform.UsageRequest)
			}
			got := p.Check(platform.Operation{Account: account, RequestID: "r", Action: "start", Want: c.want})
			equal(t, "number of breaches in "+strings.Join(got, "; "), len(got), len(c.breaches))
			for _, want := range c.breaches {
				if !slices.ContainsFunc(got, func(b string) bool { return strings.Contains(b, want) }) {
					t.Fatalf("no %q in %q", want, got)
				}
			}
		})
	}
}

func TestWaitClean(t *testing.T) {
	p := startPlatform(t, platform.Config{})
	a := newAsker(t, p)
	op := platform.Operation{Account: account, RequestID: "r", Action: "start"}
	send(t, a.client, platform.UsageRequest, "1", usagePayload("e1", "runtime_start_requested", "r"))
	a.next(platform.UsageRequest)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if got := p.Usage.WaitClean(gone, op); len(got) != 2 {
		t.Fatalf("an open operation: %q", got)
	}
	clean := make(chan []string, 1)
	ctx := within(t)
	go func() { clean <- p.Usage.WaitClean(ctx, op) }()
	send(t, a.client, platform.UsageRequest, "2", usagePayload("e2", "runtime_start_finished", "r"))
	equal(t, "breaches", <-clean, nil)
}
