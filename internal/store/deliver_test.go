package store

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

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

// An account whose records are acknowledged late has all its places back.
func TestLateAcknowledgementsFreePlaces(t *testing.T) {
	t.Parallel()
	config, _ := configFor()
	s := running(t, config)
	r := &receiver{answer: func(ctx context.Context, c sending) error {
		time.Sleep(300 * time.Millisecond) // the time-out
		s.Acknowledged(c.id, false)        // just too late
		return context.DeadlineExceeded
	}}
	delivering(t, s, r)
	for range 2 {
		var ids []string
		for i := range 100 {
			ids = append(ids, acceptedStart(t, s, fmt.Sprint("account-", i)).ID)
		}
		eventually(t, func() bool {
			return !slices.ContainsFunc(ids, func(id string) bool { return !allDelivered(t, s, id) })
		}, "all")
		eventually(t, func() bool {
			d := s.delivery.Load()
			d.mu.Lock()
			defer d.mu.Unlock()
			return len(d.places) == 0 && len(d.accounts) == 0
		}, "nothing is on its way")
	}
}

// What others put into the ids of their replies reaches no database.
func TestForeignIDs(t *testing.T) {
	t.Parallel()
	s, _ := withPostgres(t)
	id := uuid.NewString()
	for _, delivery := range []string{id + ".2147483648", id + ".-1", id + ".+0", id + ".00", id + ".", id, "", "x.0", id + "\x00.0"} {
		_, _, ok := parseDeliveryID(delivery)
		assert.False(t, ok, delivery)
		s.Acknowledged(delivery, false)
		s.Settle(delivery+"\x00", nil, nil)
	}
	assert.NoError(t, tryInsert(t, s))
}

// While the usage integration is away, records that are due and whose accounts rest are looked
// for each second, not in a loop, however many accounts there are.
func TestAccountsThatRest(t *testing.T) {
	t.Parallel()
	const many = 3 * maxSending
	config, _ := configFor()
	var asked atomic.Int32 // the time, in each look
	config.Now = func() time.Time { asked.Add(1); return time.Now() }
	s := running(t, config)
	alter(t, s, `insert into operations (id, action, account, outcome, requested_at, ended_at, records, due_since, due_at, attempts)
		with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < 2 * $1)
		select cast(n as text), 'stop', 'account-' || (n % $1), 'accepted', 1, 1, 1, 1, 1, 20 from numbers`, many)
	var tried atomic.Int32
	delivering(t, s, &receiver{answer: func(context.Context, sending) error { tried.Add(1); return errBusy }})
	eventually(t, func() bool { return tried.Load() >= many }, "one record of each account")
	eventually(t, func() bool {
		before := asked.Load()
		time.Sleep(2 * pollEvery) // how often it looks meanwhile is the point
		return asked.Load()-before < 40
	}, "few looks")
}
