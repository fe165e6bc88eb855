package events

import (
	"cmp"
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
	// What further replies to those that do not wait any more are: of the last
	// `remembered` ones at least, and of twice as many at most.
	past, older map[string]fate
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
	delete(p.past, c.CorrelationID)
	delete(p.older, c.CorrelationID)
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
	p.remember(c.CorrelationID, fate{late, true})
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
		p.remember(id, further)
		c.done <- err
		return fate{matched, false}
	}
	other := fate{unmatched, true}
	if e.Replayed {
		other.kind = history
	}
	return cmp.Or(p.past[id], p.older[id], other)
}

// remember holds mu.
func (p *pending) remember(id string, further fate) {
	if len(p.past) >= remembered || p.past == nil {
		p.past, p.older = make(map[string]fate), p.past
	}
	p.past[id] = further
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
