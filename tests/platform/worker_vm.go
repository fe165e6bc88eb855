package platform

import (
	"encoding/json"
	"maps"
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
	// Details is status.details; empty leaves it out.
	Details map[string]any
	// Now is the clock of the machine; nil means time.Now.
	Now func() time.Time
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
	// writes holds the event that carried each correlation id of a start or
	// stop, bounded by forgetting all of them at once.
	writes map[string]string
}

// NewVMWorker returns a worker that is not listening yet.
func NewVMWorker(worker WorkerConfig, vm VMConfig) *VMWorker {
	if vm.State == "" {
		vm.State = StateStopped
	}
	if vm.Provider == "" {
		vm.Provider = "fake"
	}
	if vm.Now == nil {
		vm.Now = time.Now
	}
	v := &VMWorker{cfg: vm, state: vm.State, writes: map[string]string{}}
	v.Worker = newWorker(worker, "vm", vmScope, StatusRequest, StartRequest, StopRequest)
	v.handle = v.answer
	return v
}

// State returns where the machine is now.
func (v *VMWorker) State() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.settle()
}

// SetState puts the machine there, at rest. Any text will do.
func (v *VMWorker) SetState(state string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.state, v.next = state, ""
}

// settle makes a transition that is due. v.mu is held.
func (v *VMWorker) settle() string {
	if v.next != "" && !v.cfg.Now().Before(v.due) {
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
		v.state, v.next, v.due = passing, goal, v.cfg.Now().Add(while)
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
	if req.Name != StatusRequest {
		v.judgeWrite(req)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch req.Name {
	case StartRequest:
		v.move(StateReady, StateStarting, v.cfg.StartTime)
		return map[string]any{"accepted": true, "action": "start"}, nil
	case StopRequest:
		v.move(StateStopped, StateStopping, v.cfg.StopTime)
		return map[string]any{"accepted": true, "action": "stop"}, nil
	}
	status := map[string]any{"state": v.settle(), "provider": v.cfg.Provider}
	if len(v.cfg.Details) > 0 {
		status["details"] = maps.Clone(v.cfg.Details)
	}
	return status, nil
}

// judgeWrite notes what a start or stop must not do: name nobody, or be
// published twice under one correlation id.
func (v *VMWorker) judgeWrite(req Request) {
	if req.Account == "" || req.RequestID == "" {
		v.violate(req, "account_id and request_id are required: %s", req.Payload)
	}
	v.mu.Lock()
	if len(v.writes) > requestLogLimit {
		clear(v.writes)
	}
	first, seen := v.writes[req.CorrelationID]
	v.writes[req.CorrelationID] = req.EventID
	v.mu.Unlock()
	if seen && first != req.EventID {
		v.violate(req, "published twice under one correlation id")
	}
}
