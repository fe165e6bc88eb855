package platform

import (
	"cmp"
	"encoding/json"
	"sync"
	"time"
)

// The states of the VM worker's machine.
const (
	StateStopped  = "stopped"
	StateStarting = "starting"
	StateReady    = "ready"
	StateStopping = "stopping"
)

// runtimeName is the one runtime that requests may name.
const runtimeName = "default"

// VMConfig describes the machine behind a VMWorker.
type VMConfig struct {
	// State is where it begins; empty means stopped.
	State string
	// StartTime and StopTime are how long starting and stopping last; zero
	// means that the machine is there at once.
	StartTime, StopTime time.Duration
	// Provider is status.provider; empty means "fake".
	Provider string
}

// VMWorker answers status, start and stop for one machine:
// stopped → starting → ready → stopping → stopped. Both writes are accepted in
// every state; one that asks for what already holds changes nothing.
type VMWorker struct {
	*Worker
	cfg VMConfig

	mu    sync.Mutex
	state string
	next  string // where state leads once due has come; empty at rest
	due   time.Time
	// writes holds the event that carried each correlation id of a start or stop.
	writes map[string]string
}

func newVMWorker(e *Events) *VMWorker {
	v := &VMWorker{cfg: e.cfg.VM, state: cmp.Or(e.cfg.VM.State, StateStopped), writes: map[string]string{}}
	v.Worker = newWorker(e, "vm", vmScope, StatusRequest, StartRequest, StopRequest)
	v.handle = v.answer
	return v
}

// SetState puts the machine there, at rest. Any text will do.
func (v *VMWorker) SetState(state string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.state, v.next = state, ""
}

// settle makes a transition that is due. v.mu is held.
func (v *VMWorker) settle() string {
	if v.next != "" && !time.Now().Before(v.due) {
		v.state, v.next = v.next, ""
	}
	return v.state
}

// move goes to goal by way of passing, which takes a while. v.mu is held.
func (v *VMWorker) move(goal, passing string, while time.Duration) {
	switch current := v.settle(); {
	case current == goal, current == passing:
	case while == 0:
		v.state, v.next = goal, ""
	default:
		v.state, v.next, v.due = passing, goal, time.Now().Add(while)
	}
}

func (v *VMWorker) answer(req Request) (map[string]any, *EventError) {
	var body struct {
		Runtime string `json:"runtime"`
	}
	if err := json.Unmarshal(req.Payload, &body); err != nil || body.Runtime != runtimeName {
		v.violate(req, "the runtime must be %q: %s", runtimeName, req.Payload)
		return nil, &EventError{Code: "invalid_request", Message: "unknown runtime"}
	}
	if req.CorrelationID == "" {
		v.violate(req, "no correlation id")
	}
	if req.Name != StatusRequest && (req.Account == "" || req.RequestID == "") {
		v.violate(req, "account_id and request_id are required: %s", req.Payload)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if req.Name == StatusRequest {
		return map[string]any{"state": v.settle(), "provider": cmp.Or(v.cfg.Provider, "fake")}, nil
	}
	first, seen := v.writes[req.CorrelationID]
	if v.writes[req.CorrelationID] = req.EventID; seen && first != req.EventID {
		v.violate(req, "published twice under one correlation id")
	}
	if req.Name == StartRequest {
		v.move(StateReady, StateStarting, v.cfg.StartTime)
		return map[string]any{"accepted": true, "action": "start"}, nil
	}
	v.move(StateStopped, StateStopping, v.cfg.StopTime)
	return map[string]any{"accepted": true, "action": "stop"}, nil
}
