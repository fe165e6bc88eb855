package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// receiver is a usage integration: what it answers is told by answer.
type receiver struct {
	answer func(ctx context.Context, s sending) error

	mu       sync.Mutex
	received []sending // acknowledged ones
	tried    int
}

type sending struct {
	id string
	usage.Record
}

func (r *receiver) Send(ctx context.Context, id string, record usage.Record) error {
	c := sending{id, record}
	r.mu.Lock()
	r.tried++
	r.mu.Unlock()
	if err := r.answer(ctx, c); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.received = append(r.received, c)
	return nil
}

func (r *receiver) accounts() (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.received {
		names = append(names, c.AccountID)
	}
	return names
}

// delivering delivers the records of s to r until the test ends.
func delivering(t *testing.T, s *Store, r *receiver) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Deliver(ctx, r) }()
	t.Cleanup(func() { stop(); assert.NoError(t, <-ended) })
}

func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, 20*time.Second, 5*time.Millisecond, what)
}

// accepted inserts a start of an account that is accepted.
func acceptedStart(t *testing.T, s *Store, account string) Write {
	w := aWrite(lifecycle.Start)
	w.Account = account
	insert(t, s, w, Lead)
	_, err := s.Reply(t.Context(), w.ID, true, End{})
	require.NoError(t, err)
	return w
}

func allDelivered(t *testing.T, s *Store, id string) bool {
	op, err := s.Find(t.Context(), id)
	require.NoError(t, err)
	records := op.Records()
	return !slices.ContainsFunc(records, func(r RecordState) bool { return r.DeliveredAt.IsZero() })
}

var errBusy = errors.New("internal_error")

func TestDeliveryIsFair(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		bad := []string{"bad-1", "bad-2", "bad-3"}
		for range 40 {
			for _, account := range bad {
				acceptedStart(t, s, account)
			}
		}
		r := &receiver{answer: func(ctx context.Context, c sending) error {
			switch c.AccountID {
			case "bad-1":
				return errBusy
			case "bad-2": // silent
				<-ctx.Done()
				return ctx.Err()
			case "bad-3":
				return fmt.Errorf("%w: no such account", usage.ErrRefused)
			}
			return nil
		}}
		delivering(t, s, r)
		for i := range 30 {
			acceptedStart(t, s, fmt.Sprintf("good-%d", i))
		}
		eventually(t, func() bool { return len(r.accounts()) == 60 }, "records of all others")
		for _, account := range bad {
			assert.NotContains(t, r.accounts(), account)
		}
	})
}

func TestDeliveryKeepsTheOrderOfAnOperation(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		fails := 3
		var mu sync.Mutex
		r := &receiver{answer: func(context.Context, sending) error {
			mu.Lock()
			defer mu.Unlock()
			if fails--; fails >= 0 {
				return errBusy
			}
			return nil
		}}
		delivering(t, s, r)
		w := acceptedStart(t, s, "account")
		eventually(t, func() bool { return len(r.accounts()) == 2 }, "both records")
		assert.Equal(t, usage.EventID(w.ID, usage.PhaseRequested), r.received[0].EventID)
		assert.Equal(t, usage.EventID(w.ID, usage.PhaseEnded), r.received[1].EventID)
		assert.Equal(t, 5, r.tried)
		eventually(t, func() bool { return allDelivered(t, s, w.ID) }, "both are noted")
	})
}

func TestParkedRecords(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		var mu sync.Mutex
		refuse := true
		r := &receiver{answer: func(context.Context, sending) error {
			mu.Lock()
			defer mu.Unlock()
			if refuse {
				return fmt.Errorf("%w: no such account", usage.ErrRefused)
			}
			return nil
		}}
		delivering(t, s, r)
		one, two := acceptedStart(t, s, "one"), acceptedStart(t, s, "two")
		parkedNow := func() []Parked {
			list, err := s.Parked(t.Context(), 100)
			require.NoError(t, err)
			return list
		}
		eventually(t, func() bool { return len(parkedNow()) == 2 }, "both requested records")
		assert.Contains(t, parkedNow()[0].Reason, "no such account")
		assert.Empty(t, r.received, "a terminal record waits behind a parked one")

		mu.Lock()
		refuse = false
		mu.Unlock()
		known, err := s.Drop(t.Context(), usage.EventID(one.ID, usage.PhaseRequested))
		require.NoError(t, err)
		assert.True(t, known)
		eventually(t, func() bool { return len(r.accounts()) == 1 }, "the terminal record behind a dropped one")
		n, err := s.Retry(t.Context())
		require.NoError(t, err)
		assert.EqualValues(t, 1, n)
		eventually(t, func() bool { return len(r.accounts()) == 3 }, "the others")
		assert.Equal(t, usage.EventID(two.ID, usage.PhaseRequested), r.received[1].EventID)
	})
}

func TestLateAcknowledgement(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		r := &receiver{answer: func(ctx context.Context, c sending) error {
			s.Acknowledged(c.id, false) // by another replica
			return errBusy
		}}
		delivering(t, s, r)
		w := acceptedStart(t, s, "account")
		eventually(t, func() bool { return allDelivered(t, s, w.ID) }, "both count as delivered")
	})
}

// An account whose records another process delivers is not remembered for ever.
func TestForgottenAccounts(t *testing.T) {
	now := time.Now()
	d := &delivery{accounts: map[string]*account{
		"rests": {failing: true, until: now}, "sends": {failing: true, sending: 1}, "gone": {failing: true, until: now.Add(-time.Hour)},
	}}
	d.forget(now.Add(-time.Minute))
	assert.Len(t, d.accounts, 2)
	assert.NotContains(t, d.accounts, "gone")
}
