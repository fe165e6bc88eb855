package platform_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// What each behaviour makes of a reply, for a worker of each kind.
func TestBehaviours(t *testing.T) {
	accepted := object{"accepted": true, "action": "start"}
	refusal := platform.EventError{Code: "no_capacity", Message: "none left"}
	form := func(f platform.ErrorForm, inPayload bool) *platform.EventError {
		e := refusal
		e.Form, e.InPayload = f, inPayload
		return &e
	}
	withType := object{"type": "no_capacity", "message": "none left"}
	withCode := object{"code": "no_capacity", "message": "none left"}
	for name, c := range map[string]struct {
		behaviour platform.Behaviour
		want      []reply // the replies, all under correlation id "c"
		fate      platform.Fate
		state     string
	}{
		"well":                       {platform.Behaviour{}, []reply{{Payload: accepted}}, platform.Answered, "ready"},
		"deaf":                       {platform.Behaviour{Deaf: true}, nil, platform.Ignored, "stopped"},
		"silent":                     {platform.Behaviour{Silent: true}, nil, platform.Withheld, "ready"},
		"duplicate":                  {platform.Behaviour{Duplicate: 2}, []reply{{Payload: accepted}, {Payload: accepted}, {Payload: accepted}}, platform.Answered, "ready"},
		"payload replaced":           {platform.Behaviour{Payload: json.RawMessage(`{"accepted":"true"}`)}, []reply{{Payload: object{"accepted": "true"}}}, platform.Answered, "ready"},
		"payload is text":            {platform.Behaviour{Payload: json.RawMessage(`"what"`)}, []reply{{Payload: "what"}}, platform.Answered, "ready"},
		"error with type":            {platform.Behaviour{Refuse: form(platform.ErrorWithType, false)}, []reply{{Payload: object{}, Error: withType}}, platform.Refused, "stopped"},
		"error with code":            {platform.Behaviour{Refuse: form(platform.ErrorWithCode, false)}, []reply{{Payload: object{}, Error: withCode}}, platform.Refused, "stopped"},
		"error as text":              {platform.Behaviour{Refuse: form(platform.ErrorText, false)}, []reply{{Payload: object{}, Error: "no_capacity: none left"}}, platform.Refused, "stopped"},
		"error in the payload":       {platform.Behaviour{Refuse: form(platform.ErrorWithType, true)}, []reply{{Payload: object{"error": withType}}}, platform.Refused, "stopped"},
		"text error in the payload":  {platform.Behaviour{Refuse: form(platform.ErrorText, true)}, []reply{{Payload: object{"error": "no_capacity: none left"}}}, platform.Refused, "stopped"},
		"another name":               {platform.Behaviour{Deaf: true, Names: []string{platform.StopRequest}}, []reply{{Payload: accepted}}, platform.Answered, "ready"},
		"another account":            {platform.Behaviour{Deaf: true, Accounts: []string{"someone"}}, []reply{{Payload: accepted}}, platform.Answered, "ready"},
		"this account and this name": {platform.Behaviour{Silent: true, Accounts: []string{account}, Names: []string{platform.StartRequest}}, nil, platform.Withheld, "ready"},
		"a rate of nearly nothing":   {platform.Behaviour{Deaf: true, Rate: 1e-12}, []reply{{Payload: accepted}}, platform.Answered, "ready"},
		"echo": {platform.Behaviour{Echo: true}, []reply{{Payload: object{"accepted": true, "action": "start",
			"details": object{"request_id": "r-c", "account_id": account, "correlation_id": "c"}}}}, platform.Answered, "ready"},
		"echo in an error": {platform.Behaviour{Echo: true, Refuse: form(platform.ErrorText, false)}, []reply{{Payload: object{},
			Error: "no_capacity: none left (request r-c of " + account + ", c)"}}, platform.Refused, "stopped"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPlatform(t, platform.Config{})
			a := newAsker(t, p)
			p.VM.SetBehaviour(c.behaviour)
			a.publish(platform.StartRequest, "c")
			must(t, p.VM.WaitAsked(within(t), platform.StartRequest, 1))
			p.VM.SetBehaviour()
			for i, want := range c.want {
				want.CorrelationID = "c"
				equal(t, fmt.Sprint("reply ", i), a.next(platform.StartRequest), want)
			}
			equal(t, "the next one is well", a.ask(platform.StartRequest, "d").CorrelationID, "d")
			asked := p.VM.Asked(platform.StartRequest)
			equal(t, "asked", []any{len(asked), asked[0].Fate, asked[0].Account, asked[0].RequestID},
				[]any{2, c.fate, account, "r-c"})
		})
		t.Run(name+", state", func(t *testing.T) {
			p := startPlatform(t, platform.Config{})
			p.VM.SetBehaviour(c.behaviour)
			newAsker(t, p).publish(platform.StartRequest, "c")
			must(t, p.VM.WaitAsked(within(t), platform.StartRequest, 1))
			equal(t, "state", p.VM.State(), c.state)
		})
	}
}

func TestEveryWorkerKindCanBeTold(t *testing.T) {
	p := startPlatform(t, platform.Config{})
	a := newAsker(t, p)
	for _, w := range p.Workers() {
		w.SetBehaviour(platform.Behaviour{Refuse: &platform.EventError{Code: "busy", Message: "later"}, Times: 1})
	}
	for _, name := range []string{platform.StatusRequest, platform.EntitlementRequest, platform.UsageRequest} {
		equal(t, name, a.ask(name, "1").Error, any(object{"type": "busy", "message": "later"}))
		equal(t, name+" after Times", a.ask(name, "1").Error, nil)
	}
	p.Billing.SetBehaviour(platform.Behaviour{Echo: true})
	equal(t, "billing echoes in usage", a.ask(platform.EntitlementRequest, "3").Payload, any(object{
		"allowed": true, "reason": "billing_active",
		"usage": object{"request_id": "", "account_id": account, "correlation_id": "3"},
	}))
}

func TestHoldSendsAllAtOnceInASeededOrder(t *testing.T) {
	const requests = 50
	var inOrder []string
	for i := range requests {
		inOrder = append(inOrder, fmt.Sprint(i))
	}
	heard := func(seed uint64) []string {
		p := startPlatform(t, platform.Config{Seed: seed})
		a := newAsker(t, p)
		p.VM.SetBehaviour(platform.Behaviour{Hold: requests})
		for _, id := range inOrder[1:] {
			a.publish(platform.StatusRequest, id)
		}
		must(t, p.VM.WaitAsked(within(t), platform.StatusRequest, requests-1))
		equal(t, "replies while held", p.Events.Accepted(platform.ReplyName(platform.StatusRequest)), 0)
		a.publish(platform.StatusRequest, inOrder[0])
		var got []string
		for range requests {
			got = append(got, a.next(platform.StatusRequest).CorrelationID)
		}
		return got
	}
	first := heard(1)
	if slices.Equal(first, append(inOrder[1:requests:requests], inOrder[0])) {
		t.Fatal("in order")
	}
	equal(t, "the same seed", heard(1), first)
	if slices.Equal(heard(2), first) {
		t.Fatal("another seed, the same order")
	}
	slices.Sort(first)
	slices.Sort(inOrder)
	equal(t, "replies", first, inOrder)
}

func TestRelease(t *testing.T) {
	p := startPlatform(t, platform.Config{})
	a := newAsker(t, p)
	p.VM.SetBehaviour(platform.Behaviour{Hold: 2, Duplicate: 1})
	a.publish(platform.StatusRequest, "alone")
	must(t, p.VM.WaitAsked(within(t), platform.StatusRequest, 1))
	p.VM.Release()
	for range 2 {
		equal(t, "released", a.next(platform.StatusRequest).CorrelationID, "alone")
	}
}

func TestDelayAndJitterHoldReplies(t *testing.T) {
	const delay, replies = 200 * time.Millisecond, 20
	p := startPlatform(t, platform.Config{})
	a := newAsker(t, p)
	p.VM.SetBehaviour(platform.Behaviour{Delay: delay, Jitter: delay})
	began := time.Now()
	for i := range replies {
		a.publish(platform.StatusRequest, fmt.Sprint(i))
	}
	a.next(platform.StatusRequest)
	first := time.Since(began)
	for range replies - 1 {
		a.next(platform.StatusRequest)
	}
	last := time.Since(began)
	if first < delay || last-first < delay/2 || last > replies*delay {
		t.Fatalf("replies between %v and %v", first, last)
	}
}
