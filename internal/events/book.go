package events

import (
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
	matched   matching = "matched"   // somebody waits for it
	late      matching = "late"      // the request was given up
	duplicate matching = "duplicate" // the request was answered already
	unmatched matching = "unmatched" // a stranger's, or forgotten
)

// book knows the requests of one reply stream, by correlation id: waiting,
// given up, or answered.
type book struct {
	mu       sync.Mutex
	opened   uint64 // how many requests there have been
	waiting  map[string]*waiter
	givenUp  *recent[*waiter]
	answered *recent[time.Time] // when each was requested
}

// waiter is one request. Its reply is sent once, and only by whoever took it
// out of the book.
type waiter struct {
	id          string
	number      uint64
	requestedAt time.Time
	reply       chan Envelope // one slot: the sender never blocks
	late        func(Envelope)
	nonsense    func(Envelope) bool
	until       time.Time // when a late reply is of no use any more
}

func newBook() *book {
	return &book{
		waiting:  make(map[string]*waiter),
		givenUp:  newRecent[*waiter](maxLate),
		answered: newRecent[time.Time](maxAnswered),
	}
}

// open enters a request; false means that one with this id waits already. An
// earlier one that does not wait any more is forgotten: replies are the new one's.
func (b *book) open(r Request, now time.Time) (*waiter, bool) {
	w := &waiter{id: r.CorrelationID, requestedAt: now, late: r.Late, nonsense: r.Nonsense, reply: make(chan Envelope, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting[w.id] != nil {
		return nil, false
	}
	b.opened++
	w.number = b.opened
	b.waiting[w.id] = w
	b.givenUp.remove(w.id)
	b.answered.remove(w.id)
	return w, true
}

// close takes a request out whose caller waits no longer. False means that its
// reply came first: it is in w.reply, or will be at once.
func (b *book) close(w *waiter) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.forget(w)
}

// giveUp is close for a request that may have been carried out: until then its
// late reply is known, and given to w.late if that is set.
func (b *book) giveUp(w *waiter, until time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.forget(w) {
		return false
	}
	w.until = until
	b.givenUp.put(w.id, w)
	return true
}

// forget is close with mu held.
func (b *book) forget(w *waiter) bool {
	if b.waiting[w.id] != w {
		return false
	}
	delete(b.waiting, w.id)
	return true
}

// take looks up whose reply e is, which came at now, and takes that request out
// of the book; after nonsense it is given up instead, with until as in giveUp.
// The waiter is nil unless the reply is matched, or late and no nonsense;
// requestedAt is zero when it is unmatched.
func (b *book) take(e Envelope, now, until time.Time) (kind matching, w *waiter, requestedAt time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := e.CorrelationID
	if w = b.waiting[id]; w != nil {
		delete(b.waiting, id)
		if w.nonsense != nil && w.nonsense(e) {
			w.until = until
			b.givenUp.put(id, w)
			return matched, w, w.requestedAt
		}
		kind = matched
	} else if w, _ = b.givenUp.get(id); w != nil {
		kind = late
		switch {
		case now.After(w.until):
			w.late = nil
		case w.nonsense != nil && w.nonsense(e):
			return kind, nil, w.requestedAt
		}
		b.givenUp.remove(id)
	} else if requestedAt, known := b.answered.get(id); known {
		return duplicate, nil, requestedAt
	} else {
		return unmatched, nil, time.Time{}
	}
	b.answered.put(id, w.requestedAt)
	return kind, w, w.requestedAt
}

// mark is a point in time for missing.
func (b *book) mark() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opened
}

// missing reports whether a reply to a request from before the mark is still
// wanted, by its caller or by its late function.
func (b *book) missing(mark uint64, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.waiting {
		if w.number <= mark {
			return true
		}
	}
	for _, item := range b.givenUp.items {
		if w := item.value; w.number <= mark && w.late != nil && now.Before(w.until) {
			return true
		}
	}
	return false
}
