package snapshot

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A follower counts as one who reads all the time, however many there are, and
// learns of each status that is seen without asking.
func TestFollow(t *testing.T) {
	for state, want := range map[string]int64{"ready": 30, "starting": 120} {
		inBubbleOf(t, 1, func(t *testing.T, k *Keeper, r *fakeRuntime) {
			r.set(state, nil)
			for _, open := range []bool{true, false} { // a lost stream changes nothing
				k.Stream(open)
				before := r.asked.Load()
				var released []func()
				for range 1000 {
					released = append(released, k.Follow())
				}
				latest := k.Latest()
				for start := time.Now(); time.Since(start) < time.Minute; {
					<-latest.Changed
					latest = k.Latest()
					require.Equal(t, document(state), string(latest.Seen.Document))
					require.Less(t, time.Since(latest.Seen.AskedAt), time.Second)
				}
				require.InDelta(t, want, r.asked.Load()-before, 3)
				for _, release := range released {
					release()
				}
				time.Sleep(time.Minute)
				before = r.asked.Load()
				time.Sleep(24 * time.Hour)
				require.Equal(t, before, r.asked.Load(), "no follower is left")
			}
		})
	}
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		r.set("", errors.New("no answer"))
		defer k.Follow()()
		time.Sleep(time.Minute)
		require.InDelta(t, 120, r.asked.Load(), 2, "a failing backend is asked at the same pace")
	})
}

// Of what was asked for before an accepted write followers know nothing any more.
// It is settled once a later status says what the write leads to.
func TestSettled(t *testing.T) {
	for _, own := range []bool{true, false} {
		inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
			r.set("stopped", nil)
			r.delay = 100 * time.Millisecond
			defer k.Follow()()
			next := func() *Seen {
				<-k.Latest().Changed
				return k.Latest().Seen
			}
			first := next()
			require.True(t, first.Settled)
			require.Regexp(t, `^"[A-Za-z0-9_-]{16}"$`, string(first.ETag))
			time.Sleep(refresh - time.Since(first.AskedAt) + 50*time.Millisecond) // the next is under way
			r.set("ready", nil)
			k.Accepted("ready", own)
			require.Nil(t, k.Latest().Seen)
			r.set("starting", nil)
			time.Sleep(60 * time.Millisecond) // what was under way has come
			require.Nil(t, k.Latest().Seen)
			seen := next()
			require.Equal(t, "starting", seen.State)
			require.True(t, seen.Moving)
			r.set("stopped", nil)
			seen = next()
			require.False(t, seen.Moving)
			require.False(t, seen.Settled, "the write has not reached its target")
			require.Equal(t, first.ETag, seen.ETag)
			require.True(t, seen.AskedAt.After(first.AskedAt))
			r.set("ready", nil)
			for seen = next(); seen.State != "ready"; seen = next() {
				require.False(t, seen.Settled)
			}
			require.True(t, seen.Settled)
		})
	}
}

// Writes that are accepted faster than the backend answers keep no follower from what is
// asked for after those before: each status but the first is told, if it is the next.
func TestFollowAmidWrites(t *testing.T) {
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		r.set("starting", nil)
		r.delay = 500 * time.Millisecond
		defer k.Follow()()
		time.Sleep(time.Second)
		var told, since time.Time
		for i := range 40 {
			k.Accepted("ready", true)
			switch latest := k.Latest(); {
			case i == 0:
				require.Nil(t, latest.Seen, "what was asked for before the first is not")
				since = latest.Since
			case latest.Seen != nil:
				require.False(t, latest.Seen.AskedAt.After(latest.Since), "nothing for who begins now")
			}
			time.Sleep(300 * time.Millisecond)
			if seen := k.Latest().Seen; seen != nil && seen.AskedAt != told {
				require.True(t, seen.AskedAt.After(since))
				told = seen.AskedAt
			}
			require.True(t, i < 4 || time.Since(told) < 1500*time.Millisecond, "%d: %v", i, time.Since(told))
		}
	})
}
