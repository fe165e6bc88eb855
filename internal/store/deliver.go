package store

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/backoff"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

const (
	// maxSending is how many records are on their way at a time: 1,000 a second
	// with answers that take 60 ms. Of one account there are at most maxOfAccount;
	// of one whose last record failed, one, and of all such accounts maxFailing.
	maxSending   = 64
	maxOfAccount = 16
	maxFailing   = 16
	// A record that failed is sent again after retryMin, doubled each time up to
	// retryMax.
	retryMin = 200 * time.Millisecond
	retryMax = 30 * time.Second
	// pollEvery is how often the store is looked at for records that other
	// processes left.
	pollEvery = time.Second
	// leaseSlack is how much longer than one attempt a claim lasts.
	leaseSlack = 5 * time.Second
	// maxReason bounds why a record is parked, in bytes.
	maxReason = 1000
)

// Sender hands a record to the usage integration. Nil means acknowledged; an error
// that wraps usage.ErrRefused is final; after any other it is sent again. It
// returns within Config.Timeout, and soon after ctx ends.
type Sender interface {
	Send(ctx context.Context, eventID string, body json.RawMessage) error
}

// delivery sends the records of a store.
type delivery struct {
	store  *Store
	sender Sender
	done   chan struct{} // has room for one signal: a place is free

	mu       sync.Mutex
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
	d := &delivery{store: s, sender: sender, done: make(chan struct{}, 1), accounts: map[string]*account{}}
	var sends sync.WaitGroup
	defer sends.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for after := ""; ; {
		claims, next := d.claim(ctx, after)
		after = next
		for _, c := range claims {
			sends.Go(func() { d.send(ctx, c) })
		}
		if len(claims) > 0 || after != "" {
			timer.Reset(0)
		} else {
			timer.Reset(pollEvery)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-d.done:
		case <-s.wakeDelivery:
		}
	}
}

// claim takes as many records as may be sent now.
func (d *delivery) claim(ctx context.Context, after string) ([]Claim, string) {
	d.mu.Lock()
	free := maxSending - d.sending
	d.mu.Unlock()
	if free == 0 || ctx.Err() != nil || !d.store.anyDue(ctx) {
		return nil, ""
	}
	type taken struct {
		claims []Claim
		last   string
	}
	got, err := submit(ctx, d.store, call{order: "3", patient: true}, func(t *tx) (got taken, err error) {
		got.claims, got.last, err = t.claim(after, free, d.store.config.Timeout+leaseSlack, d.room)
		return got, err
	})
	if err != nil {
		return nil, "" // the store says so itself; what was claimed is due again when its lease ends
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range got.claims {
		a := d.accounts[c.Account]
		if a == nil {
			a = &account{}
			d.accounts[c.Account] = a
		}
		a.sending++
		d.sending++
		if a.failing {
			d.failing++
		}
	}
	return got.claims, got.last
}

// room is how many more records of an account may be on their way.
func (d *delivery) room(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch a := d.accounts[name]; {
	case a == nil:
		return maxOfAccount
	case !a.failing:
		return maxOfAccount - a.sending
	case a.sending > 0 || d.failing >= maxFailing:
		return 0
	}
	return 1
}

// send sends one record and notes the answer. Without an answer that is noted,
// the record is due again when its lease ends.
func (d *delivery) send(ctx context.Context, c Claim) {
	answer := d.sender.Send(ctx, c.EventID, c.Body)
	defer wake(d.done)
	d.left(c, answer)
	if answer != nil && ctx.Err() != nil {
		return // cut short
	}
	s := d.store
	final := errors.Is(answer, usage.ErrRefused)
	wait := backoff.Delay(c.Attempts, retryMin, retryMax, rand.Float64())
	_ = s.do(context.WithoutCancel(ctx), call{order: "0" + c.EventID, patient: true, kept: true}, func(t *tx) error {
		switch {
		case answer == nil:
			_, err := t.acknowledge(c.EventID, delivered)
			return err
		case final:
			reason := answer.Error()
			return t.retry(c.EventID, parkedFor, reason[:min(len(reason), maxReason)])
		}
		return t.retry(c.EventID, wait, "")
	})
	switch {
	case answer == nil:
		s.counts.delivered.Inc()
	case final:
		s.config.Logger.Error("a usage record was refused and is parked", "event_id", c.EventID, "cause", answer,
			"do", "settle the reason with the usage integration; it is offered again every hour, and by the command usage retry")
	default:
		s.counts.retries.Inc()
		time.AfterFunc(wait, func() { wake(d.done) })
	}
}

// left notes that a record is no longer on its way.
func (d *delivery) left(c Claim, answer error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.accounts[c.Account]
	a.sending--
	d.sending--
	if a.failing {
		d.failing--
	}
	failed := answer != nil && !errors.Is(answer, usage.ErrRefused)
	if failed != a.failing {
		a.failing = failed
		if failed {
			d.failing += a.sending
		} else {
			d.failing -= a.sending
		}
	}
	if a.sending == 0 && !a.failing {
		delete(d.accounts, c.Account)
	}
	if failed && !d.silent {
		d.store.config.Logger.Warn("a usage record could not be delivered; it stays in the store and is sent again", "event_id", c.EventID, "cause", answer)
	}
	d.silent = failed
}
