package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/backoff"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

const (
	// maxSending is how many records are on their way at a time: 1,000 a second
	// with answers that take 120 ms. One account has at most half as many as there
	// are places free; one whose last record failed has one, and all such accounts
	// have maxFailing.
	maxSending = 128
	maxFailing = 16
	// A record that failed is sent again after retryMin, doubled each time up to
	// retryMax.
	retryMin = 200 * time.Millisecond
	retryMax = 30 * time.Second
	// pollEvery is how often the store is looked at for records that other
	// processes left.
	pollEvery = time.Second
	// claimRest is between two claims, so that places that become free meanwhile
	// share one.
	claimRest = 20 * time.Millisecond
	// leaseSlack is how much longer than one attempt a claim lasts.
	leaseSlack = 5 * time.Second
	// maxReason bounds why a record is parked, in bytes.
	maxReason = 1000
)

// Sender hands a record to the usage integration under an id, which is the same each
// time. Nil means acknowledged; an error that wraps usage.ErrRefused is final; after
// any other it is sent again. It returns within Config.Timeout, and soon after ctx
// ends.
type Sender interface {
	Send(ctx context.Context, id string, record usage.Record) error
}

// delivery sends the records of a store. The process that makes a record due sends
// it, as soon as that is confirmed and while there is room; records that are left,
// by a process that is gone as well, are claimed from the database.
type delivery struct {
	store  *Store
	sender Sender
	ctx    context.Context // of Deliver
	freed  chan struct{}   // has room for one signal: a place is free

	mu       sync.Mutex
	sends    sync.WaitGroup
	closed   bool
	sending  int
	failing  int                 // of sending, those of failing accounts
	accounts map[string]*account // with records on their way, or failing
	silent   bool                // nothing has been acknowledged since the last failure
}

type account struct {
	sending int
	failing bool
}

// Deliver sends records until ctx ends, and returns once every Send has.
func (s *Store) Deliver(ctx context.Context, sender Sender) error {
	d := &delivery{store: s, sender: sender, ctx: ctx, freed: make(chan struct{}, 1), accounts: map[string]*account{}}
	s.delivery.Store(d)
	defer d.close()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for after, more := "", true; ; {
		after, more = d.claim(after)
		if after != "" {
			wake(d.freed)
		}
		rest := time.After(claimRest)
		select {
		case <-ctx.Done():
			return nil
		case <-rest:
		}
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return nil
			case <-poll.C:
				waiting = false
			case <-s.wakeDelivery:
				waiting = false
			case <-d.freed:
				waiting = !more
			}
		}
	}
}

// close ends the delivery: what is handed to it from now on is left.
func (d *delivery) close() {
	d.store.delivery.CompareAndSwap(d, nil)
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.sends.Wait()
}

// claim takes as many of the records that were left as may be sent now, of accounts
// after that name, and reports the last account, and whether more may be due.
func (d *delivery) claim(after string) (last string, more bool) {
	d.mu.Lock()
	free := maxSending - d.sending
	d.mu.Unlock()
	if free == 0 {
		return after, true
	}
	if !d.store.anyDue(d.ctx) {
		return "", false
	}
	type found struct {
		last string
		any  bool
	}
	got, err := submit(d.ctx, d.store, call{order: "3"}, func(t *tx) (got found, err error) {
		got.last, got.any, err = t.claim(after, free)
		return got, err
	})
	return got.last, got.any || err != nil // the store tells of an error itself
}

// room is how many more records of an account may be on their way.
func (d *delivery) room(name string) int {
	if d == nil {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	free := maxSending - d.sending
	switch a := d.accounts[name]; {
	case d.closed:
		return 0
	case a == nil:
		return free / 2
	case !a.failing:
		return max(0, free/2-a.sending)
	case a.sending > 0 || d.failing >= maxFailing || free == 0:
		return 0
	}
	return 1
}

// reserve takes a place for a record of an account, if there is one.
func (d *delivery) reserve(name string) bool {
	if d.room(name) == 0 { // the writer alone takes places
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.accounts[name]
	if a == nil {
		a = &account{}
		d.accounts[name] = a
	}
	a.sending++
	d.sending++
	if a.failing {
		d.failing++
	}
	return true
}

// release gives back the places of records that are not sent after all.
func (d *delivery) release(claims ...Operation) {
	if len(claims) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, op := range claims {
		d.left(op.Account, d.accounts[op.Account].failing)
	}
}

// hand has records sent whose places are reserved.
func (d *delivery) hand(claims []Operation) {
	if len(claims) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, op := range claims {
		if !d.closed {
			d.sends.Go(func() { d.send(op) })
		}
	}
}

// send sends the record of op that is next and notes the answer. Without an answer
// that is noted, it is due again when its lease ends.
func (d *delivery) send(op Operation) {
	s, eventID := d.store, op.eventID()
	answer := d.sender.Send(d.ctx, op.deliveryID(), op.record(op.sent))
	final := errors.Is(answer, usage.ErrRefused)
	d.answered(op.Account, eventID, answer, final)
	if answer != nil && d.ctx.Err() != nil {
		return // cut short
	}
	wait := backoff.Delay(op.attempts, retryMin, retryMax, rand.Float64())
	_ = s.do(context.WithoutCancel(d.ctx), call{order: "0" + op.ID, patient: true, kept: true}, func(t *tx) error {
		switch {
		case answer == nil:
			_, err := t.acknowledge(op.ID, op.sent, false)
			return err
		case final:
			reason := answer.Error()
			return t.retry(op, parkedFor, reason[:min(len(reason), maxReason)])
		}
		return t.retry(op, wait, "")
	})
	switch {
	case answer == nil:
		s.counts.delivered.Inc()
	case final:
		s.config.Logger.Error("a usage record was refused and is parked", "event_id", eventID, "cause", answer,
			"do", "settle the reason with the usage integration; it is offered again every hour, and by the command usage retry")
	default:
		s.counts.retries.Inc()
		time.AfterFunc(wait, func() { wake(s.wakeDelivery) })
	}
}

// answered notes that a record of an account is no longer on its way.
func (d *delivery) answered(account, eventID string, answer error, final bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	failed := answer != nil && !final
	d.left(account, failed)
	if failed && !d.silent {
		d.store.config.Logger.Warn("a usage record could not be delivered; it stays in the store and is sent again", "event_id", eventID, "cause", answer)
	}
	d.silent = failed
	wake(d.freed)
}

// left frees a place of an account, which fails or does not from now on.
func (d *delivery) left(name string, failing bool) {
	a := d.accounts[name]
	a.sending--
	d.sending--
	if a.failing {
		d.failing--
	}
	if failing && !a.failing {
		d.failing += a.sending
	} else if a.failing && !failing {
		d.failing -= a.sending
	}
	a.failing = failing
	if a.sending == 0 && !failing {
		delete(d.accounts, name)
	}
}
