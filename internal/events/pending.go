package events

import (
	"errors"
	"sync"
	"time"
)

const (
	// maxLate bounds the given-up requests of a stream whose late reply is
	// still wanted; beyond it the oldest is forgotten.
	maxLate = 4096
	// maxAnswered bounds the answered requests of a stream that are remembered
	// in order to know a repeated reply.
	maxAnswered = 4096
)

// matching says what a reply is to this process.
type matching string

const (
	matched   matching = "matched"   // its request is waited for
	late      matching = "late"      // its request was given up
	duplicate matching = "duplicate" // its request was answered already
	unmatched matching = "unmatched" // another requester's, or forgotten
)

// pending holds the requests of one reply stream by correlation id: waiting,
// given up, or answered.
type pending struct {
	mu       sync.Mutex
	opened   uint64 // how many requests there have been
	waiting  map[string]*call
	givenUp  *oldestFirst[*call]
	answered *oldestFirst[bool] // whether the reply said yes
}

// call is one request.
type call struct {
	id     string
	number uint64
	decode func(Envelope) result
	late   func(result)  // nil: a late reply is only counted
	until  time.Time     // when a late reply is of no use any more
	done   chan result   // one slot: the stream never blocks
	missed chan struct{} // one slot: its stream was lost, and the history has no reply
}

// result is a decoded reply.
type result struct {
	value any
	err   error
}

func newPending() *pending {
	return &pending{
		waiting:  make(map[string]*call),
		givenUp:  newOldestFirst[*call](maxLate),
		answered: newOldestFirst[bool](maxAnswered),
	}
}

// add enters c; false means that a request with its id waits already. An
// earlier one that does not wait any more is forgotten: replies are c's.
func (p *pending) add(c *call) bool {
	c.done, c.missed = make(chan result, 1), make(chan struct{}, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting[c.id] != nil {
		return false
	}
	p.opened++
	c.number = p.opened
	p.waiting[c.id] = c
	p.givenUp.remove(c.id)
	p.answered.remove(c.id)
	return true
}

// remove takes out a request that was not sent. False means that its reply came
// first and is in c.done.
func (p *pending) remove(c *call) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting[c.id] != c {
		return false
	}
	delete(p.waiting, c.id)
	return true
}

// giveUp is remove for a request that may have been carried out: until then its
// late reply is known, and given to c.late.
func (p *pending) giveUp(c *call, until time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting[c.id] != c {
		return false
	}
	delete(p.waiting, c.id)
	c.until = until
	p.givenUp.put(c.id, c)
	return true
}

// waits reports whether c still waits for its reply.
func (p *pending) waits(c *call) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting[c.id] == c
}

// find looks up whose reply has id. The call is nil unless the reply is matched
// or late. settled is false for a reply that may tell more than its request knows:
// another requester's, or one after a refusal.
func (p *pending) find(id string) (kind matching, c *call, settled bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.waiting[id]; c != nil {
		return matched, c, false
	}
	if c, ok := p.givenUp.get(id); ok {
		return late, c, false
	}
	if yes, ok := p.answered.get(id); ok {
		return duplicate, nil, yes
	}
	return unmatched, nil, false
}

// settle gives r, which came at now, to the caller of c if it waits. A malformed
// reply settles nothing for good: c is given up with it, and the next reply is
// late. It reports what the reply was, and whether c.late is to be called.
func (p *pending) settle(c *call, r result, now, until time.Time) (kind matching, tell bool) {
	malformed := errors.Is(r.err, ErrMalformed)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting[c.id] == c {
		delete(p.waiting, c.id)
		if malformed {
			c.until = until
			p.givenUp.put(c.id, c)
		} else {
			p.answered.put(c.id, r.err == nil)
		}
		c.done <- r
		return matched, false
	}
	if given, _ := p.givenUp.get(c.id); given != c {
		return unmatched, false // removed meanwhile: it was refused
	}
	if malformed {
		return late, false
	}
	p.givenUp.remove(c.id)
	p.answered.put(c.id, r.err == nil)
	return late, c.late != nil && !now.After(c.until)
}

// mark is a point in time for missing.
func (p *pending) mark() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.opened
}

// missing reports whether a reply to a request from before the mark is still
// wanted, by its caller or by its late function.
func (p *pending) missing(mark uint64, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.waiting {
		if c.number <= mark {
			return true
		}
	}
	for _, item := range p.givenUp.items {
		if c := item.value; c.number <= mark && c.late != nil && now.Before(c.until) {
			return true
		}
	}
	return false
}

// tellMissed tells the requests from before the mark that still wait that the
// history has no reply to them.
func (p *pending) tellMissed(mark uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.waiting {
		if c.number <= mark {
			select {
			case c.missed <- struct{}{}:
			default:
			}
		}
	}
}

// oldestFirst is a map by correlation id of at most limit values: when it is
// full, the one put first makes room. The limit is at least 1.
type oldestFirst[V any] struct {
	limit int
	items map[string]numbered[V]
	order []slot // a ring once it has limit slots
	puts  uint64
}

type numbered[V any] struct {
	value V
	put   uint64
}

// slot may be stale: its id was removed, or put again since.
type slot struct {
	id  string
	put uint64
}

func newOldestFirst[V any](limit int) *oldestFirst[V] {
	return &oldestFirst[V]{limit: limit, items: make(map[string]numbered[V])}
}

func (o *oldestFirst[V]) put(id string, value V) {
	next := slot{id, o.puts}
	if len(o.order) < o.limit {
		o.order = append(o.order, next)
	} else {
		oldest := &o.order[o.puts%uint64(o.limit)]
		if o.items[oldest.id].put == oldest.put {
			delete(o.items, oldest.id)
		}
		*oldest = next
	}
	o.items[id] = numbered[V]{value, o.puts}
	o.puts++
}

func (o *oldestFirst[V]) get(id string) (V, bool) {
	item, ok := o.items[id]
	return item.value, ok
}

func (o *oldestFirst[V]) remove(id string) { delete(o.items, id) }
