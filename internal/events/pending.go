package events

import (
	"errors"
	"sync"
	"time"
)

// remembered is how many requests of a stream that do not wait any more are at
// least known, to tell what their further replies are.
const remembered = 4096

// What a reply is to this process, as a label of metrics.
const (
	matched   = "matched"   // its request is waited for
	late      = "late"      // its request was given up
	duplicate = "duplicate" // its request was answered already
	unmatched = "unmatched" // another requester's, or forgotten
	history   = "history"   // like unmatched, in a replay
)

// pending holds the requests of one reply stream by correlation id.
type pending struct {
	mu      sync.Mutex // held while a reply is decoded
	waiting map[string]*call
	past    recent[fate] // of further replies to those that do not wait any more
}

// fate is what a reply is, and whether it may tell others more than the request
// of this process knows: none waits for it, or it comes after a refusal.
type fate struct {
	kind    string
	observe bool
}

// call is a request that is under way.
type call struct {
	Request
	body     []byte
	began    time.Time
	deadline time.Time  // of the caller
	done     chan error // from Decode; one slot: the stream never blocks
}

// add enters c; false means that a request with its id waits already. An
// earlier one that does not wait any more is forgotten: replies are c's.
func (p *pending) add(c *call) bool {
	c.done = make(chan error, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting[c.CorrelationID] != nil {
		return false
	}
	p.waiting[c.CorrelationID] = c
	p.past.remove(c.CorrelationID)
	return true
}

// giveUp takes c out; false means that its reply came first and is in c.done.
func (p *pending) giveUp(c *call) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting[c.CorrelationID] != c {
		return false
	}
	delete(p.waiting, c.CorrelationID)
	p.past.put(c.CorrelationID, fate{late, true})
	return true
}

// waits reports whether c still waits for its reply.
func (p *pending) waits(c *call) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting[c.CorrelationID] == c
}

// deliver gives e to the request that waits for it and says what e is. A malformed
// reply settles nothing for good: its request is given up with it.
func (p *pending) deliver(e Envelope) fate {
	id := e.CorrelationID
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.waiting[id]; c != nil {
		err := c.Decode(e)
		delete(p.waiting, id)
		further := fate{duplicate, err != nil}
		if errors.Is(err, ErrMalformed) {
			further.kind = late
		}
		p.past.put(id, further)
		c.done <- err
		return fate{matched, false}
	}
	switch past := p.past.get(id); {
	case past.kind != "":
		return past
	case e.Replayed:
		return fate{history, true}
	}
	return fate{unmatched, true}
}

// wanted returns the requests from before mark that wait for their reply.
func (p *pending) wanted(mark time.Time) (calls []*call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.waiting {
		if c.began.Before(mark) {
			calls = append(calls, c)
		}
	}
	return calls
}

// recent is a map by correlation id of the last values put: at least so many
// as are to be remembered, and at most twice as many.
type recent[V any] struct{ young, old map[string]V }

func (r *recent[V]) put(id string, value V) {
	if len(r.young) >= remembered || r.young == nil {
		r.young, r.old = make(map[string]V), r.young
	}
	r.young[id] = value
}

// get returns the zero value for what is not known.
func (r *recent[V]) get(id string) V {
	if value, ok := r.young[id]; ok {
		return value
	}
	return r.old[id]
}

func (r *recent[V]) remove(id string) {
	delete(r.young, id)
	delete(r.old, id)
}
