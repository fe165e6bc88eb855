package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/backoff"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

const (
	// maxSending is how many records are on their way at a time: 1,000 a second
	// with answers that take 120 ms. One account has at most half as many as there
	// are places free; one whose last record failed has one, and all that gave no
	// answer within silentAfter have maxSilent.
	maxSending  = 128
	maxSilent   = 16
	silentAfter = time.Second
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
	// deliveries come in the order of locks after ends, which may lock the rows of all that joined.
	deliveries = "0\xff"
)

// Send hands a record to the usage integration under an id, which is the same each
// time. Nil means acknowledged; an error that wraps usage.ErrRefused is final; after
// any other it is sent again. It returns within Config.Timeout, and soon after ctx
// ends.
type Send func(ctx context.Context, id string, record usage.Record) error

// delivery sends the records of a store. The process that makes a record due sends
// it, as soon as that is confirmed and while there is room; records that are left,
// by a process that is gone as well, are claimed from the database.
type delivery struct {
	store *Store
	post  Send
	ctx   context.Context // of Deliver
	freed chan struct{}   // has room for one signal: a place is free

	mu        sync.Mutex
	sends     sync.WaitGroup
	closed    bool
	sending   int
	silentNow int                 // of sending, those of silent accounts
	accounts  map[string]*account // with records on their way, or failing
	ids       map[string]bool     // of the operations whose records are on their way
	quiet     atomic.Bool         // the next failure is logged: a record was acknowledged since the last
}

type account struct {
	sending int
	failing bool
	silent  bool      // it fails without an answer in time, and holds a place long
	until   time.Time // it rests, where it is failing
}

// Deliver sends records until ctx ends, and returns once every Send has.
func (s *Store) Deliver(ctx context.Context, send Send) error {
	d := &delivery{store: s, post: send, ctx: ctx, freed: make(chan struct{}, 1), accounts: map[string]*account{}, ids: map[string]bool{}}
	d.quiet.Store(true)
	s.delivery.Store(d)
	defer d.close()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for after, more := "", true; ; {
		began := after
		after, more = d.claim(after)
		if after != "" || began != "" { // not all have had their turn since the last signal
			more = true
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
			case now := <-poll.C:
				d.forget(now.Add(-2 * retryMax))
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
	accounts, err := d.store.due(d.ctx, after, free) // not in the writer: there may be many
	if err != nil || len(accounts) == 0 {
		return "", err != nil
	}
	last, err = submit(d.ctx, d.store, call{order: "3"}, func(t *tx) (string, error) { return t.claim(accounts, free) })
	if err != nil || len(accounts) < free && last == accounts[len(accounts)-1] {
		last = "" // all had their turn; the store logs an error itself
	}
	return last, true
}

// forget forgets accounts that have failed and not been tried since before: what they
// had waiting has been delivered by another process.
func (d *delivery) forget(before time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, a := range d.accounts {
		if a.sending == 0 && a.until.Before(before) {
			delete(d.accounts, name)
		}
	}
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
		return (free + 1) / 2
	case !a.failing:
		return max(0, (free+1)/2-a.sending)
	case a.sending > 0 || a.silent && d.silentNow >= maxSilent || free == 0 || time.Now().Before(a.until):
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
	if a.silent {
		d.silentNow++
	}
	return true
}

// has reports whether a record of that operation is on its way.
func (d *delivery) has(id string) bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ids[id]
}

// release gives back the places of records that are not sent after all.
func (d *delivery) release(claims ...Operation) {
	if len(claims) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, op := range claims {
		a := d.accounts[op.Account]
		d.free(op.Account, a.failing, a.silent)
	}
	wake(d.freed)
}

// hand has records sent whose places are reserved. Accounts of which records are
// acknowledged, however late, fail no longer.
func (d *delivery) hand(claims []Operation, acknowledged []string) {
	if d == nil || len(claims)+len(acknowledged) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range acknowledged {
		if d.accounts[name] != nil {
			d.fails(name, false, false)
		}
	}
	for _, op := range claims {
		if !d.closed {
			d.ids[op.ID] = true
			d.sends.Go(func() { d.send(op) })
		}
	}
}

// send sends the record of op that is next and notes the answer. Without an answer
// that is noted, it is due again when its lease ends.
func (d *delivery) send(op Operation) {
	s, eventID := d.store, op.eventID()
	began := time.Now()
	answer := d.post(d.ctx, op.deliveryID(), op.record(op.sent))
	took := time.Since(began)
	final := errors.Is(answer, usage.ErrRefused)
	wait := backoff.Delay(op.attempts, retryMin, retryMax, rand.Float64())
	failed := answer != nil && !final
	d.answered(op, failed, failed && took > silentAfter, wait)
	if failed && d.ctx.Err() == nil && d.quiet.CompareAndSwap(true, false) {
		s.config.Logger.Warn("a usage record could not be delivered; it stays in the store and is sent again", "event_id", eventID, "cause", answer)
	} else if !failed {
		d.quiet.Store(true)
	}
	if answer != nil && d.ctx.Err() != nil {
		return // cut short
	}
	_ = s.do(context.WithoutCancel(d.ctx), call{order: deliveries + op.ID, delayed: true, kept: true}, func(t *tx) error {
		switch {
		case answer == nil:
			_, err := t.acknowledge(op.ID, op.sent, false)
			return err
		case final:
			return t.retry(op, parkedFor, answer.Error())
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

// answered notes that a record is no longer on its way; where it failed, its account
// rests for wait.
func (d *delivery) answered(op Operation, failed, silent bool, wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.ids, op.ID)
	d.accounts[op.Account].until = time.Now().Add(wait)
	d.free(op.Account, failed, silent)
	wake(d.freed)
}

// free frees a place of an account, which fails or does not from now on.
func (d *delivery) free(name string, failing, silent bool) {
	a := d.accounts[name]
	a.sending--
	d.sending--
	if a.silent {
		d.silentNow--
	}
	d.fails(name, failing, silent)
}

func (d *delivery) fails(name string, failing, silent bool) {
	a := d.accounts[name]
	if silent && !a.silent {
		d.silentNow += a.sending
	} else if a.silent && !silent {
		d.silentNow -= a.sending
	}
	a.failing, a.silent = failing, silent
	if a.sending == 0 && !failing {
		delete(d.accounts, name)
	}
}

// Acknowledged notes that the usage integration took the record that was sent to it
// under that id, however late and by whom. It returns at once, but for one from the
// history, which is looked up first.
func (s *Store) Acknowledged(id string, replayed bool) {
	operation, position, ok := parseDeliveryID(id)
	if !ok {
		return // of another component
	}
	if replayed {
		if op, err := s.find(context.Background(), operation); err == nil && op.sent != position {
			return
		}
	}
	s.keep(call{order: deliveries + operation, delayed: true}, func(t *tx) error {
		_, err := t.acknowledge(operation, position, false)
		return err
	})
}

// Drop gives up a parked record for good; known is false where none has that id.
func (s *Store) Drop(ctx context.Context, eventID string) (known bool, err error) {
	var id string
	var position int
	err = s.read(ctx, func(scan func(...any) error) error {
		var op Operation
		err := scan(&op.ID, &op.sent)
		if err == nil && op.eventID() == eventID {
			id, position = op.ID, op.sent
		}
		return err
	}, `select id, sent from operations where parked <> ''`)
	if err != nil || id == "" {
		return false, err
	}
	return submit(ctx, s, call{order: deliveries + id}, func(t *tx) (bool, error) { return t.acknowledge(id, position, true) })
}

// Retry offers all parked records again, and returns how many there were.
func (s *Store) Retry(ctx context.Context) (int64, error) { return s.repeat(ctx, (*tx).offer) }
