package platform_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

func TestVMGoesThroughItsStates(t *testing.T) {
	clock := make(chan time.Time, 1)
	now := time.Unix(1000, 0)
	clock <- now
	tick := func(d time.Duration) { clock <- (<-clock).Add(d) }
	p := startPlatform(t, platform.Config{VM: platform.VMConfig{
		StartTime: 3 * time.Second, StopTime: 2 * time.Second, Provider: "test", Details: object{"zone": "x"},
		Now: func() time.Time { n := <-clock; clock <- n; return n },
	}})
	a := newAsker(t, p)
	n := 0
	id := func() string { n++; return fmt.Sprint("c", n) }
	state := func(want string) {
		t.Helper()
		c := id()
		equal(t, "status", a.ask(platform.StatusRequest, c), reply{CorrelationID: c,
			Payload: object{"state": want, "provider": "test", "details": object{"zone": "x"}}})
	}
	write := func(name, action string) {
		t.Helper()
		c := id()
		equal(t, action, a.ask(name, c), reply{CorrelationID: c, Payload: object{"accepted": true, "action": action}})
	}
	state("stopped")
	write(platform.StopRequest, "stop")
	state("stopped")
	write(platform.StartRequest, "start")
	state("starting")
	tick(2 * time.Second)
	write(platform.StartRequest, "start") // does not start over
	tick(time.Second)
	state("ready")
	write(platform.StopRequest, "stop")
	state("stopping")
	tick(2 * time.Second)
	state("stopped")
	p.VM.SetState("on fire")
	state("on fire")
	equal(t, "violations", p.Check(), nil)
}

func TestBillingDecides(t *testing.T) {
	p := startPlatform(t, platform.Config{})
	a := newAsker(t, p)
	equal(t, "by default", a.ask(platform.EntitlementRequest, "1").Payload,
		any(object{"allowed": true, "reason": "billing_active"}))
	p.Billing.Decide("", platform.Decision{})
	equal(t, "everybody denied", a.ask(platform.EntitlementRequest, "2").Payload,
		any(object{"allowed": false, "reason": "billing_required"}))
	p.Billing.Decide(account, platform.Decision{Reason: "quota_exceeded", Command: "bus billing setup",
		PlanID: "basic", RecommendedPlan: "pro", Usage: object{"used": 7.0}})
	equal(t, "one account denied", a.ask(platform.EntitlementRequest, "3"), reply{CorrelationID: "3", Payload: object{
		"allowed": false, "reason": "quota_exceeded", "command": "bus billing setup",
		"plan_id": "basic", "recommended_plan": "pro", "usage": object{"used": 7.0},
	}})
}

// A worker that was cut off answers what it missed, and drops what it owed.
func TestWorkerCutOff(t *testing.T) {
	p := startPlatform(t, platform.Config{})
	a := newAsker(t, p)
	p.VM.SetBehaviour(platform.Behaviour{Delay: time.Hour})
	a.publish(platform.StatusRequest, "owed")
	must(t, p.VM.WaitAsked(within(t), platform.StatusRequest, 1))
	p.VM.Stop()
	must(t, p.Events.WaitGone(within(t), platform.StatusRequest))
	p.VM.SetBehaviour()
	a.publish(platform.StatusRequest, "missed")
	p.VM.Start()
	equal(t, "reply", a.next(platform.StatusRequest).CorrelationID, "missed")
	equal(t, "publishes", p.VM.Publishes(platform.StatusRequest), map[string]int{"owed": 1, "missed": 1})

	p.VM.SetBehaviour(platform.Behaviour{Hold: 2})
	a.publish(platform.StatusRequest, "held")
	must(t, p.VM.WaitAsked(within(t), platform.StatusRequest, 3))
	p.VM.Stop()
	must(t, p.Events.WaitGone(within(t), platform.StatusRequest))
	p.VM.Start()
	p.VM.SetBehaviour()
	equal(t, "after another life", a.ask(platform.StatusRequest, "fresh").CorrelationID, "fresh")
	equal(t, "replies", p.Events.Accepted(platform.ReplyName(platform.StatusRequest)), 2)
}

func TestWorkersOutliveTheEventsAPI(t *testing.T) {
	p := startPlatform(t, platform.Config{})
	for _, end := range []func() error{p.Events.Kill, p.Events.Stop} {
		must(t, end())
		must(t, p.Events.Restart(true))
		must(t, p.WaitReady(within(t)))
		a := newAsker(t, p)
		equal(t, "status", a.ask(platform.StatusRequest, "c").CorrelationID, "c")
	}
	// A reply that cannot be published is tried again.
	replyName := platform.ReplyName(platform.StatusRequest)
	a := newAsker(t, p)
	p.Events.SetFaults(platform.Faults{PublishStatus: 500, Names: []string{replyName}})
	before := p.Events.Accepted(replyName)
	a.publish(platform.StatusRequest, "persistent")
	must(t, p.VM.WaitAsked(within(t), platform.StatusRequest, 3))
	must(t, p.Events.WaitDisturbed(within(t), 2))
	equal(t, "replies", p.Events.Accepted(replyName), before)
	p.Events.SetFaults(platform.Faults{})
	equal(t, "reply", a.next(platform.StatusRequest).CorrelationID, "persistent")
}

// Twice under one correlation id, no account, another runtime: breaches of the
// contract that a provider's bug would make.
func TestWorkersNoteBreaches(t *testing.T) {
	p := startPlatform(t, platform.Config{})
	a := newAsker(t, p)
	a.ask(platform.StartRequest, "fine")
	a.ask(platform.StatusRequest, "fine")
	a.ask(platform.EntitlementRequest, "fine")
	equal(t, "breaches", append(p.VM.Violations(), p.Billing.Violations()...), nil)

	a.ask(platform.StartRequest, "fine")
	a.ask(platform.StatusRequest, "fine") // reads may repeat
	send(t, a.client, platform.StopRequest, "nobody", object{"runtime": "default"})
	a.next(platform.StopRequest)
	send(t, a.client, platform.StatusRequest, "elsewhere", object{"runtime": "other"})
	equal(t, "event error", a.next(platform.StatusRequest).Error, any(object{"type": "invalid_request", "message": "unknown runtime"}))
	send(t, a.client, platform.EntitlementRequest, "noscope", object{"account_id": account})
	a.next(platform.EntitlementRequest)
	got := append(p.VM.Violations(), p.Billing.Violations()...)
	slices.Sort(got)
	equal(t, "breaches", got, []string{
		platform.EntitlementRequest + ` noscope: account_id must be a UUID and scope vm:write: {"account_id":"` + account + `"}`,
		platform.StartRequest + ` fine: published twice under one correlation id`,
		platform.StatusRequest + ` lsewhere: the runtime must be "default": {"runtime":"other"}`,
		platform.StopRequest + ` nobody: account_id and request_id are required: {"runtime":"default"}`,
	})
}

// An event that the API delivers twice is one publish.
func TestDeliveredTwiceIsPublishedOnce(t *testing.T) {
	p := startPlatform(t, platform.Config{})
	a := newAsker(t, p)
	p.Events.SetFaults(platform.Faults{Duplicate: true, Names: []string{platform.StartRequest}})
	a.publish(platform.StartRequest, "c")
	must(t, p.VM.WaitAsked(within(t), platform.StartRequest, 2))
	equal(t, "publishes", p.VM.Publishes(platform.StartRequest), map[string]int{"c": 1})
	equal(t, "breaches", p.VM.Violations(), nil)
}

func TestWorkersReadTolerantly(t *testing.T) {
	p := startPlatform(t, platform.Config{})
	a := newAsker(t, p)
	p.Events.SetFaults(platform.Faults{
		Names:        []string{platform.StatusRequest},
		GarbageLines: true, Blank: true, CRLF: true, Unknown: true, LongLine: 1 << 20, Spelling: platform.SpellSnake,
	})
	for _, id := range []string{"1", "2"} {
		equal(t, "reply", a.ask(platform.StatusRequest, id).CorrelationID, id)
	}
}
