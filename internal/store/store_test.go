package store

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
)

func TestEnds(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		for name, c := range map[string]struct {
			events  []event
			outcome lifecycle.Outcome
			types   []string
		}{
			"accepted":               {[]event{replyYes}, lifecycle.Accepted, []string{requested, finished}},
			"accepted, and no more":  {[]event{replyYes, replyNo, abandoned, expired}, lifecycle.Accepted, []string{requested, finished}},
			"rejected":               {[]event{replyNo, replyYes}, lifecycle.Rejected, []string{requested, failed}},
			"not sent":               {[]event{abandoned, replyYes}, lifecycle.NotSent, []string{requested, failed}},
			"unknown":                {[]event{expired, abandoned}, lifecycle.Unknown, []string{requested, failed}},
			"unknown, then accepted": {[]event{expired, replyYes, replyNo}, lifecycle.Accepted, []string{requested, failed, finished}},
			"unknown, then rejected": {[]event{expired, replyNo, replyYes}, lifecycle.Rejected, []string{requested, failed, failed}},
		} {
			t.Run(name, func(t *testing.T) {
				w := aWrite(lifecycle.Start)
				insert(t, s, w, lifecycle.Lead)
				for _, e := range c.events {
					if e == expired {
						expireAll(t, s)
						continue
					}
					_, err := s.end(t.Context(), w.ID, e, End{})
					require.NoError(t, err)
				}
				assertLife(t, s, w.ID, c.outcome, c.types...)
			})
		}
	})
}

func TestInsertAgain(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		w := aWrite(lifecycle.Start)
		insert(t, s, w, lifecycle.Lead)
		assert.Equal(t, lifecycle.Outcome(""), insert(t, s, w, lifecycle.Lead).Outcome, "5: the same operation")
		assertLife(t, s, w.ID, "", requested)

		late := aWrite(lifecycle.Start)
		_, err := s.Abandon(t.Context(), late.ID)
		require.NoError(t, err)
		assert.Equal(t, lifecycle.NotSent, insert(t, s, late, lifecycle.Lead).Outcome, "8: its id is taken")
		assertLife(t, s, late.ID, lifecycle.NotSent)
	})
}

func TestJoining(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		leader := insert(t, s, aWrite(lifecycle.Start), lifecycle.Lead)

		own := joining()
		own.Account = leader.Account
		assert.Equal(t, leader.ID, insert(t, s, own, lifecycle.Attached).ID, "3: the same account")
		follower := insert(t, s, joining(), lifecycle.Joined)
		again := joining()
		again.Account = follower.Account
		assert.Equal(t, follower.ID, insert(t, s, again, lifecycle.Attached).ID, "3: the account of one that joined")
		plain := insert(t, s, aWrite(lifecycle.Start), lifecycle.Lead) // as the seed says

		_, err := s.Reply(t.Context(), leader.ID, true, End{})
		require.NoError(t, err)
		assertLife(t, s, leader.ID, lifecycle.Accepted, requested, finished)
		assertLife(t, s, follower.ID, lifecycle.Accepted, requested, finished)
		assertLife(t, s, plain.ID, "", requested)
		late := insert(t, s, joining(), lifecycle.Joined)
		assertLife(t, s, late.ID, lifecycle.Accepted, requested, finished)

		insert(t, s, aWrite(lifecycle.Stop), lifecycle.Lead)
		insert(t, s, joining(), lifecycle.Lead) // a stop was requested since
	})
}

func TestAfterALeaderThatWasNotSent(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		decide := func(id string, want lifecycle.Decision) Operation {
			t.Helper()
			d, op, err := s.decide(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, want, d)
			return op
		}
		leader := insert(t, s, joining(), lifecycle.Lead)
		one, two, three := insert(t, s, joining(), lifecycle.Joined), insert(t, s, joining(), lifecycle.Joined), insert(t, s, joining(), lifecycle.Joined)
		decide(one.ID, lifecycle.Joined) // the leader is under way
		_, err := s.Abandon(t.Context(), one.ID)
		require.NoError(t, err)
		assertLife(t, s, one.ID, "", requested) // it has its leader's end, soon

		_, err = s.Abandon(t.Context(), leader.ID)
		require.NoError(t, err)
		assertLife(t, s, one.ID, "", requested)
		decide(one.ID, lifecycle.Lead)                                   // 14
		assert.Equal(t, one.ID, decide(two.ID, lifecycle.Joined).Leader) // 15
		_, err = s.Reply(t.Context(), one.ID, true, End{})
		require.NoError(t, err)
		assertLife(t, s, two.ID, lifecycle.Accepted, requested, finished)
		assertLife(t, s, decide(three.ID, lifecycle.Joined).ID, lifecycle.Accepted, requested, finished) // 15, accepted as that one

		insert(t, s, aWrite(lifecycle.Stop), lifecycle.Lead)
		leader = insert(t, s, joining(), lifecycle.Lead)
		one, two = insert(t, s, joining(), lifecycle.Joined), insert(t, s, joining(), lifecycle.Joined)
		_, err = s.Abandon(t.Context(), leader.ID)
		require.NoError(t, err)
		_, err = s.Abandon(t.Context(), one.ID) // 16: no caller waits
		require.NoError(t, err)
		assertLife(t, s, one.ID, lifecycle.NotSent, requested, failed)
		insert(t, s, aWrite(lifecycle.Stop), lifecycle.Lead)
		decide(two.ID, lifecycle.Joined) // 16: a stop since
		assertLife(t, s, two.ID, lifecycle.NotSent, requested, failed)
	})
}

func TestSlotEnds(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		leader := insert(t, s, joining(), lifecycle.Lead)
		require.NoError(t, s.Reached(t.Context(), lifecycle.Start, "upcloud", 0))
		insert(t, s, joining(), lifecycle.Joined) // ready, as it was before the acceptance
		_, err := s.Reply(t.Context(), leader.ID, true, End{})
		require.NoError(t, err)
		require.NoError(t, s.Reached(t.Context(), lifecycle.Start, "upcloud", time.Minute))
		insert(t, s, joining(), lifecycle.Joined) // a status that was asked for before
		require.NoError(t, s.Reached(t.Context(), lifecycle.Start, "upcloud", 0))
		times, err := s.startTimes(t.Context())
		require.NoError(t, err)
		assert.Len(t, times, 1, "of the leader alone")
		insert(t, s, joining(), lifecycle.Lead)
		alter(t, s, `update operations set slot_until = 1`)
		insert(t, s, joining(), lifecycle.Lead) // it took too long
		expireAll(t, s)
		leader = insert(t, s, joining(), lifecycle.Lead) // the end of that one is unknown
		_, err = s.Reply(t.Context(), leader.ID, false, End{})
		require.NoError(t, err)
		insert(t, s, joining(), lifecycle.Lead) // it was rejected
	})
}

// An account has so many keys within a day; one that attaches counts as well.
func TestTooManyKeys(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		w := joining()
		w.Key = "first"
		insert(t, s, w, lifecycle.Lead)
		require.NoError(t, s.do(t.Context(), call{}, func(t *tx) {
			t.exec(`insert into keys (account, name, operation, action, created_at)
				with recursive n (i) as (select 1 union all select i + 1 from n where i < $5) select $1, cast(i as text), $2, $3, $4 from n`,
				w.Account, w.ID, w.Action, t.now, maxKeys-1)
		}))
		again := w
		again.ID, again.Key = uuid.NewString(), "one more"
		_, _, err := s.insert(t.Context(), again)
		require.ErrorIs(t, err, lifecycle.ErrTooManyKeys)
		_, err = s.Meet(t.Context(), again)
		require.ErrorIs(t, err, lifecycle.ErrTooManyKeys)
		again.Key = "7"
		insert(t, s, again, lifecycle.Known)
		require.NoError(t, s.do(t.Context(), call{}, func(t *tx) {
			t.exec(`update keys set created_at = created_at - $1 where name = 'first'`, keyKept.Microseconds())
		}))
		again.Key = "one more"
		met, err := s.Meet(t.Context(), again)
		require.NoError(t, err)
		require.Equal(t, []any{lifecycle.Attached, w.ID}, []any{met.Decision, met.ID})
		insert(t, s, again, lifecycle.Known)
	})
}

// A wait ends with the operation, with its leader that was not sent, and with the
// process.
func TestAwait(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		leader, follower := joining(), joining()
		insert(t, s, leader, lifecycle.Lead)
		insert(t, s, follower, lifecycle.Joined)
		type waited struct {
			lifecycle.Receipt
			err error
		}
		await := func(ctx context.Context, id, leader string) <-chan waited {
			done := make(chan waited, 1)
			go func() {
				got, err := s.Await(ctx, id, leader)
				done <- waited{got, err}
			}()
			awaitWaiter(t, s, id)
			return done
		}
		ctx, cancel := context.WithCancel(t.Context())
		left, own, others := await(ctx, leader.ID, ""), await(t.Context(), leader.ID, ""), await(t.Context(), follower.ID, leader.ID)
		cancel()
		require.ErrorIs(t, (<-left).err, context.Canceled)
		_, err := s.Abandon(t.Context(), leader.ID)
		require.NoError(t, err)
		assert.Equal(t, lifecycle.NotSent, (<-own).Outcome)
		assert.Equal(t, waited{}.Outcome, (<-others).Outcome, "it is to decide again")
		got, err := s.Await(t.Context(), follower.ID, leader.ID) // after the change
		require.NoError(t, err)
		assert.Empty(t, got.Outcome)
		decided, err := s.Again(t.Context(), follower.ID)
		require.NoError(t, err)
		assert.Equal(t, lifecycle.Lead, decided.Decision)
		require.NoError(t, decided.Permit())
		last := await(t.Context(), follower.ID, "")
		ended, end := context.WithCancel(t.Context())
		end()
		require.NoError(t, s.EndWaits(ended))
		require.ErrorIs(t, (<-last).err, errOver)
		receipt, err := s.Ended(follower.ID, lifecycle.Rejected, &lifecycle.Error{Kind: lifecycle.Rejection, Type: "no_capacity", Message: "No room."}, time.Second)
		require.NoError(t, err)
		assert.Equal(t, []string{"no_capacity", "No room."}, []string{receipt.ErrorType, receipt.ErrorMessage})
		got, err = s.Await(t.Context(), follower.ID, "")
		require.NoError(t, err)
		assert.Equal(t, lifecycle.Rejected, got.Outcome)
		assert.Empty(t, s.changes.awaited)
	})
}

// Thousands wait for one start. Its end is theirs in one transaction, which has its
// time like any other: 10,000 take an eighth of it where nothing else runs.
func TestManyJoin(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		leader := joining()
		insert(t, s, leader, lifecycle.Lead)
		insert(t, s, joining(), lifecycle.Joined)
		const many = 2_000
		require.NoError(t, s.do(t.Context(), call{}, func(t *tx) {
			t.exec(`insert into operations (id, action, account, requested_at, closes_at, leader, joined, records, due_since, due_at)
				with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < $2)
				select cast(n as text), 'start', cast(n as text), $3, $3, $1, 1, 1, $3, $3 from numbers`, leader.ID, many, t.now)
		}))
		op, err := s.Reply(t.Context(), leader.ID, true, End{})
		require.NoError(t, err)
		require.Equal(t, lifecycle.Accepted, op.Outcome)
		count, err := read(t.Context(), s, value[int], `select count(*) from operations where outcome = 'accepted' and records = 2 and leader = $1`, leader.ID)
		require.NoError(t, err)
		require.Equal(t, []int{many + 1}, count)
	}, "SQLite", "PostgreSQL")
}
