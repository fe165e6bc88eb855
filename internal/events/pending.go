package events

import (
	"errors"
	"sync"
	"time"
)

// remembered is how many given-up requests of a stream are at least known, for
// their late replies, and how many answered ones, for repeated replies.
const remembered = 4096

// What a reply is to this process, as a label of metrics.
const (
	matched   = "matched"   // its request is waited for
	late      = "late"      // its request was given up
	duplicate = "duplicate" // its request was answered already
	unmatched = "unmatched" // another requester's, or forgotten
	history   = "history"   // replayed, and to no open request of this process
)

// pending holds the requests of one reply stream by correlation id: waiting,
// given up, or answered.
type pending struct {
	mu       sync.Mutex // held while a reply is decoded
	waiting  map[string]*call
	givenUp  recent[*call]
	answered recent[bool] // whether the reply said yes
}

// call is one request.
type call struct {
	id, name  string
	body      []byte
	lifecycle bool // not to be carried out twice
	decode    func(Envelope) result
	late      func(result) // nil: a late reply is only counted

	began    time.Time
	deadline time.Time   // of the caller
	until    time.Time   // when a late reply is of no use any more
	done     chan result // one slot: the stream never blocks
}

// result is a decoded reply.
type result struct {
	value any
	err   error
}

// add enters c; false means that a request with its id waits already. An
// earlier one that does not wait any more is forgotten: replies are c's.
func (p *pending) add(c *call) bool {
	c.done = make(chan result, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting[c.id] != nil {
		return false
	}
	p.waiting[c.id] = c
	p.givenUp.remove(c.id)
	p.answered.remove(c.id)
	return true
}

// giveUp takes c out; false means that its reply came first and is in c.done. A
// zero until is for a request that was not carried out. Of any other the late
// reply is known, and given to c.late until then.
func (p *pending) giveUp(c *call, until time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting[c.id] != c {
		return false
	}
	delete(p.waiting, c.id)
	if c.until = until; !until.IsZero() {
		p.givenUp.put(c.id, c)
	}
	return true
}

// waits reports whether c still waits for its reply.
func (p *pending) waits(c *call) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting[c.id] == c
}

// delivery is what has become of a reply.
type delivery struct {
	kind string // matched, late, …
	// observe: it may tell others more than its request knows: it is another
	// requester's, or came after a refusal.
	observe bool
	// tell, when set, is for the caller to call, without any lock: it may block
	// for a while.
	tell func()
}

// deliver gives e, which came at now, to the request that it answers. A
// malformed reply settles nothing for good: its request is given up with it, and
// the next reply is late.
func (p *pending) deliver(e Envelope, now time.Time, lateReply time.Duration, replayed bool) delivery {
	id := e.CorrelationID
	p.mu.Lock()
	defer p.mu.Unlock()
	c, waits := p.waiting[id]
	given, open := p.givenUp.get(id)
	yes, known := p.answered.get(id)
	switch {
	case waits:
	case open:
		c = given
	case replayed:
		return delivery{kind: history}
	case known:
		return delivery{kind: duplicate, observe: !yes}
	default:
		return delivery{kind: unmatched, observe: true}
	}
	r := c.decode(e)
	malformed := errors.Is(r.err, ErrMalformed)
	if !malformed {
		p.answered.put(id, r.err == nil)
		p.givenUp.remove(id)
	}
	if waits {
		delete(p.waiting, id)
		if malformed {
			c.until = now.Add(lateReply)
			p.givenUp.put(id, c)
		}
		c.done <- r
		return delivery{kind: matched}
	}
	d := delivery{kind: late}
	if !malformed && c.late != nil && !now.After(c.until) {
		d.tell = func() { c.late(r) }
	}
	return d
}

// wanted returns the requests from before mark whose reply is still wanted,
// by their callers or by their late functions.
func (p *pending) wanted(mark, now time.Time) (calls []*call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, some := range []map[string]*call{p.waiting, p.givenUp.young, p.givenUp.old} {
		for id, c := range some {
			if c.began.Before(mark) && (p.waiting[id] == c || c.late != nil && now.Before(c.until)) {
				calls = append(calls, c)
			}
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

func (r *recent[V]) get(id string) (V, bool) {
	value, ok := r.young[id]
	if !ok {
		value, ok = r.old[id]
	}
	return value, ok
}

func (r *recent[V]) remove(id string) {
	delete(r.young, id)
	delete(r.old, id)
}
