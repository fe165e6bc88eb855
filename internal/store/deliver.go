package store

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
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
)

// Send hands a record to the usage integration under an id, which is the same each
// time. Nil means acknowledged; an error that wraps usage.ErrRefused is final; after
// any other it is sent again. It returns within Config.Timeout, and soon after ctx
// ends.
type Send func(ctx context.Context, id string, record usage.Record) error

// delivery sends the records of a store. The way of a record: a transaction makes it due
// (addRecord, acknowledge), and leases it to this process if there is room (lease): it gets
// a place here (reserve), and its row says until when no other process sends it. One that
// is left, since there was no room or its process is gone, is leased later (claim). Once the
// transaction is confirmed it is sent (start), else its place is free again (release). The
// answer frees the place (send), and another transaction notes it (acknowledge, retry).
type delivery struct {
	store *Store
	post  Send
	ctx   context.Context // of Deliver
	freed chan struct{}   // has room for one signal: a place is free

	mu       sync.Mutex
	sends    sync.WaitGroup
	closed   bool
	accounts map[string]*account // with records on their way, or failing
	places   map[string]*account // of the records on their way, by delivery id
	warned   atomic.Bool         // of a failure, and no record was acknowledged since
}

type account struct {
	sending int
	failing bool
	silent  bool      // it fails without an answer in time, and holds a place long
	until   time.Time // it rests, where it is failing
}

// Deliver sends records until ctx ends, and returns once every Send has.
func (s *Store) Deliver(ctx context.Context, send Send) error {
	d := &delivery{store: s, post: send, ctx: ctx, freed: make(chan struct{}, 1), accounts: map[string]*account{}, places: map[string]*account{}}
	s.delivery.Store(d)
	defer func() { // what it would start from now on is left
		s.delivery.CompareAndSwap(d, nil)
		d.mu.Lock()
		d.closed = true
		d.mu.Unlock()
		d.sends.Wait()
	}()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	// A pass over the accounts takes several claims where places are few: after is the account
	// that one ended with, empty at the end of the pass. Those before it have their turn again
	// once the pass has ended, if a signal came meanwhile.
	goOn := make(chan struct{})
	close(goOn)
	for after, again, more := "", false, false; ; {
		began := after
		after, more = d.claim(after)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(claimRest):
		}
		var freed, next <-chan struct{}
		if more || began != "" {
			freed = d.freed
		}
		if after != "" && after != began || after == "" && again { // else all places are taken, or nothing is left
			next = goOn
		}
		select {
		case <-ctx.Done():
			return nil
		case now := <-poll.C:
			d.forget(now.Add(-2 * retryMax))
		case <-s.wakeDelivery:
			again = true
		case <-freed:
			again = true
		case <-next:
		}
		again = again && after != ""
	}
}

// claim takes as many of the records that were left as may be sent now, of accounts
// after that name, and reports the last account, and whether more may be due.
func (d *delivery) claim(after string) (last string, more bool) {
	d.mu.Lock()
	free := maxSending - len(d.places)
	d.mu.Unlock()
	if free == 0 {
		return after, true
	}
	// Not in the writer: there may be many.
	accounts, err := read(d.ctx, d.store, value[string], strings.ReplaceAll(dueAccounts, "$3", d.store.now()), after, free)
	if len(accounts) == free { // else all had their turn
		last = accounts[free-1]
	}
	more = err != nil || len(accounts) > 0
	accounts = slices.DeleteFunc(accounts, func(name string) bool { return d.room(name) == 0 })
	if len(accounts) > 0 {
		var turn string
		turn, err = submit(d.ctx, d.store, call{order: atClaims}, func(t *tx) string { return t.claim(accounts, free) })
		if turn != accounts[len(accounts)-1] {
			last = turn
		}
	}
	if err != nil {
		last = "" // the store logs it itself
	}
	return last, more
}

// room is how many more records of an account may be on their way.
func (d *delivery) room(name string) int {
	if d == nil {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	free, a := maxSending-len(d.places), cmp.Or(d.accounts[name], &account{})
	switch {
	case d.closed || free == 0:
		return 0
	case !a.failing:
		return max(0, (free+1)/2-a.sending)
	case a.sending > 0 || time.Now().Before(a.until) || a.silent && d.silent() >= maxSilent:
		return 0
	}
	return 1
}

// silent is how many places silent accounts have.
func (d *delivery) silent() (places int) {
	for _, a := range d.places {
		if a.silent {
			places++
		}
	}
	return places
}

// reserve takes a place for a record, unless it has one and is on its way. The writer
// alone takes places, where there is room.
func (d *delivery) reserve(op Operation) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.places[op.deliveryID()] != nil {
		return false
	}
	a := cmp.Or(d.accounts[op.Account], &account{})
	a.sending++
	d.accounts[op.Account], d.places[op.deliveryID()] = a, a
	return true
}

// start has records sent that have places. Accounts of which records are
// acknowledged, however late, fail no longer.
func (d *delivery) start(leased []Operation, acknowledged []string) {
	if d == nil || len(leased)+len(acknowledged) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range acknowledged {
		if d.accounts[name] != nil {
			d.fails(name, false, false)
		}
	}
	for _, op := range leased {
		if !d.closed {
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
	wait, reason := backoff.Delay(op.attempts, retryMin, retryMax, rand.Float64()), ""
	if final {
		wait, reason = parkedFor, answer.Error()
	}
	failed := answer != nil && !final
	d.mu.Lock()
	d.accounts[op.Account].until = time.Now().Add(wait)
	d.free(op, failed, failed && took > silentAfter)
	d.mu.Unlock()
	if failed && d.ctx.Err() == nil && d.warned.CompareAndSwap(false, true) {
		s.config.Logger.Warn("a usage record could not be delivered; it stays in the store and is sent again", "event_id", eventID, "cause", answer)
	} else if !failed {
		d.warned.Store(false)
	}
	if answer != nil && d.ctx.Err() != nil {
		return // cut short
	}
	_ = s.do(context.WithoutCancel(d.ctx), call{order: afterOperations + op.ID, delayed: true, kept: true}, func(t *tx) {
		if answer == nil {
			t.acknowledge(op.ID, op.sent, false)
		} else {
			t.retry(op, wait, reason)
		}
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

// release gives back the places of records that are not sent after all.
func (d *delivery) release(leased ...Operation) {
	if len(leased) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, op := range leased {
		a := d.accounts[op.Account]
		d.free(op, a.failing, a.silent)
	}
}

// free frees the place of a record, whose account fails or does not from now on.
func (d *delivery) free(op Operation, failing, silent bool) {
	delete(d.places, op.deliveryID())
	d.accounts[op.Account].sending--
	d.fails(op.Account, failing, silent)
	wake(d.freed)
}

func (d *delivery) fails(name string, failing, silent bool) {
	a := d.accounts[name]
	a.failing, a.silent = failing, silent
	if a.sending == 0 && !failing {
		delete(d.accounts, name)
	}
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
	s.keep(call{order: afterOperations + operation, delayed: true}, func(t *tx) { t.acknowledge(operation, position, false) })
}

// Drop gives up a parked record for good; known is false where none has that id.
func (s *Store) Drop(ctx context.Context, eventID string) (known bool, err error) {
	parked, err := read(ctx, s, value[string], `select id || '.' || sent from operations where parked <> ''`)
	for _, each := range parked {
		id, position, _ := parseDeliveryID(each)
		if usage.EventID(id, phases[position]) == eventID {
			return submit(ctx, s, call{order: afterOperations + id}, func(t *tx) bool { return t.acknowledge(id, position, true) })
		}
	}
	return false, err
}

// Retry offers all parked records again, and returns how many there were.
func (s *Store) Retry(ctx context.Context) (int64, error) { return s.repeat(ctx, (*tx).offer) }
