package snapshot

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// runtime is a fake backend whose answers the test decides.
type fakeRuntime struct {
	mu    sync.Mutex
	state string
	err   error
	delay time.Duration
	asked atomic.Int64
}

func (f *fakeRuntime) set(state string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state, f.err = state, err
}

func (f *fakeRuntime) fetch(ctx context.Context) (Status, error) {
	f.asked.Add(1)
	f.mu.Lock()
	status, err, delay := Status{State: f.state, Provider: "fake"}, f.err, f.delay
	f.mu.Unlock()
	select {
	case <-time.After(delay):
		return status, err
	case <-ctx.Done():
		return Status{}, ctx.Err()
	}
}

// The settings of the tests' Keepers.
const (
	maxAge        = 10 * time.Second
	refresh       = 2 * time.Second
	refreshMoving = 500 * time.Millisecond
	timeout       = 30 * time.Second
)

func newKeeper(fetch func(context.Context) (Status, error), streams int) *Keeper {
	return New(Config{
		Fetch: fetch, MaxAge: maxAge, Refresh: refresh, RefreshMoving: refreshMoving, Timeout: timeout,
		Streams: streams, Metrics: metrics.NewSet(),
	})
}

// inBubble runs f beside a running Keeper without streams, under a clock that
// only moves when everybody waits.
func inBubble(t *testing.T, f func(t *testing.T, k *Keeper, r *fakeRuntime)) { inBubbleOf(t, 0, f) }

func inBubbleOf(t *testing.T, streams int, f func(t *testing.T, k *Keeper, r *fakeRuntime)) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeRuntime{state: "ready"}
		k := newKeeper(r.fetch, streams)
		harness.Run(t, k.Run)
		f(t, k, r)
	})
}

func document(state string) string {
	return `{"status":{"state":"` + state + `","provider":"fake"}}`
}

func read(t *testing.T, k *Keeper) string {
	t.Helper()
	seen, err := k.Read(t.Context())
	require.NoError(t, err)
	return string(seen.Document)
}

func TestFirstReadersShareOneRefresh(t *testing.T) {
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		r.delay = time.Second
		var readers sync.WaitGroup
		for range 100 {
			readers.Go(func() { require.Equal(t, document("ready"), read(t, k)) })
		}
		readers.Wait()
		require.EqualValues(t, 1, r.asked.Load())
	})
}

func TestUnreadSnapshotAsksNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		time.Sleep(24 * time.Hour)
		require.EqualValues(t, 0, r.asked.Load())
		read(t, k)
		time.Sleep(24 * time.Hour)
		require.EqualValues(t, 1, r.asked.Load())
	})
}

func TestReadSnapshotIsRefreshedInTheBackground(t *testing.T) {
	for _, test := range []struct {
		state string
		want  int64 // refreshes in a minute of reading
	}{{"ready", 30}, {"starting", 120}, {"hibernating", 30}} {
		t.Run(test.state, func(t *testing.T) {
			inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
				r.set(test.state, nil)
				for range 60 * 20 {
					time.Sleep(50 * time.Millisecond)
					require.Equal(t, document(test.state), read(t, k))
				}
				require.InDelta(t, test.want, r.asked.Load(), 2)
			})
		})
	}
}

func TestFailingBackendIsShownUntilTheMaximumAge(t *testing.T) {
	gone := errors.New("gone")
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		read(t, k)
		read(t, k)
		r.set("", gone)
		for start := time.Now(); time.Since(start) < maxAge-time.Millisecond; time.Sleep(time.Millisecond) {
			require.Equal(t, document("ready"), read(t, k))
		}
		require.LessOrEqual(t, r.asked.Load(), int64(8), "retries are paced like refreshes")
		time.Sleep(2 * time.Millisecond)
		_, err := k.Read(t.Context())
		require.ErrorIs(t, err, gone)
		r.set("stopped", nil)
		time.Sleep(failureHold)
		require.Equal(t, document("stopped"), read(t, k))
	})
}

// While a stream of accepted writes is lost, each read needs a request that
// began after it did; those that wait share one.
func TestLostStream(t *testing.T) {
	inBubbleOf(t, 2, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		r.delay = time.Second
		require.Equal(t, document("ready"), read(t, k), "before the streams open")
		require.Equal(t, document("ready"), read(t, k))
		require.EqualValues(t, 2, r.asked.Load(), "nothing is kept")
		k.Stream(true)
		require.Equal(t, document("ready"), read(t, k))
		require.Equal(t, document("ready"), read(t, k))
		require.EqualValues(t, 4, r.asked.Load(), "one of two is not enough")
		k.Stream(true)
		read(t, k)
		read(t, k)
		require.EqualValues(t, 5, r.asked.Load())

		k.Stream(false)
		r.set("stopped", nil) // by a write that goes unseen
		require.Equal(t, document("stopped"), read(t, k))
		began := time.Now()
		got := make(chan string)
		go func() { got <- read(t, k) }()
		synctest.Wait()
		r.set("ready", nil)
		for range 9 {
			go func() { got <- read(t, k) }()
		}
		require.Equal(t, document("stopped"), <-got)
		for range 9 {
			require.Equal(t, document("ready"), <-got)
		}
		require.Equal(t, 2*time.Second, time.Since(began))
		require.EqualValues(t, 8, r.asked.Load())
	})
}

// The age is compared at the read: after a suspension no timer has run.
func TestAgeIsComparedAtTheRead(t *testing.T) {
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		read(t, k)
		read(t, k)
		for _, age := range []time.Duration{maxAge, time.Hour} {
			old := &shown{Seen: &Seen{Document: []byte("old"), AskedAt: time.Now().Add(-age)}, fresh: 2 * time.Hour}
			old.read.Store(true)
			k.current.Store(old)
			require.Equal(t, document("ready"), read(t, k))
		}
		// The wall clock counts too: the monotonic one stands still in a suspension.
		old := time.Now().Round(0).Add(-time.Minute)
		require.Equal(t, time.Minute, since(old))
	})
}

// A status that another requester was told is not shown. One of another state
// makes the next refresh due, at most as often as while the state moves.
func TestHint(t *testing.T) {
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		read(t, k)
		read(t, k)
		r.set("stopped", nil)
		k.Hint("ready")
		time.Sleep(refreshMoving)
		synctest.Wait()
		require.Equal(t, document("ready"), read(t, k), "no news")
		k.Hint("stopped")
		require.Equal(t, document("ready"), read(t, k), "not shown")
		synctest.Wait()
		require.Equal(t, document("stopped"), read(t, k))
		for range 1000 {
			k.Hint("other")
			read(t, k)
			time.Sleep(time.Millisecond)
		}
		require.LessOrEqual(t, r.asked.Load(), int64(4))
	})
}

// A write of this process is watched until the status says what it leads to, a
// write to another state is accepted, or ten minutes have passed.
// A write whose acceptance another process has seen is told by when that was. As often as
// it is told, statuses are seen.
func TestAcceptedElsewhere(t *testing.T) {
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		require.Equal(t, document("ready"), read(t, k))
		r.set("stopping", nil)
		time.Sleep(time.Millisecond)
		at := time.Now().Round(0) // of the store, which has no monotonic clock
		time.Sleep(time.Millisecond)
		k.AcceptedAt(at)
		require.Equal(t, document("stopping"), read(t, k))
		defer k.Follow()()
		for range 60 {
			k.AcceptedAt(at)
			require.NotNil(t, k.Latest().Seen)
			time.Sleep(50 * time.Millisecond)
		}
		k.AcceptedAt(at.Add(time.Millisecond)) // nothing that is there may be as old
		require.NotNil(t, k.Latest().Seen)
	})
}

func TestWatch(t *testing.T) {
	for name, c := range map[string]struct {
		then func(k *Keeper, r *fakeRuntime)
		want int64
	}{
		"to the target":       {func(_ *Keeper, r *fakeRuntime) { time.Sleep(10 * time.Second); r.set("ready", nil) }, 21},
		"another's write":     {func(k *Keeper, _ *fakeRuntime) { time.Sleep(10 * time.Second); k.Accepted("stopped", false) }, 20},
		"another of the same": {func(k *Keeper, _ *fakeRuntime) { time.Sleep(10 * time.Second); k.Accepted("ready", false) }, 120 + 9*30},
		"an unknown outcome":  {func(k *Keeper, _ *fakeRuntime) { time.Sleep(10 * time.Second); k.Invalidate() }, 120 + 9*30},
		"for ten minutes":     {func(*Keeper, *fakeRuntime) {}, 120 + 9*30},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
				r.set("starting", nil)
				k.Accepted("ready", true)
				c.then(k, r)
				time.Sleep(time.Hour)
				require.InDelta(t, c.want, r.asked.Load(), 2)
			})
		})
	}
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		k.Accepted("ready", false)
		time.Sleep(time.Hour)
		require.Zero(t, r.asked.Load(), "a write of others is not watched")
	})
}

// A reader that waits when Run ends, or comes later, is not kept until the time-out.
func TestEndOfRunEndsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(func(context.Context) (Status, error) { return Status{}, errors.New("away") }, 0)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- k.Run(ctx) }()
		_, err := k.Read(t.Context())
		require.ErrorContains(t, err, "away")
		cancel()
		require.NoError(t, <-ended)
		time.Sleep(failureHold) // of the bubble's clock
		began := time.Now()
		_, err = k.Read(t.Context())
		require.ErrorIs(t, err, context.Canceled)
		require.Zero(t, time.Since(began))
	})
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper((&fakeRuntime{}).fetch, 0)
		read := make(chan error)
		go func() { _, err := k.Read(t.Context()); read <- err }()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, k.Run(ctx))
		require.ErrorIs(t, <-read, context.Canceled)
	})
}

func TestWarmReadAllocatesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, k *Keeper, _ *fakeRuntime) {
		read(t, k)
		require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = k.Read(t.Context()) }))
	})
}

// A status that is not read any more is not asked for again and again because
// the runtime fails.
func TestFailureWithoutAReader(t *testing.T) {
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		read(t, k) // waits
		read(t, k) // reads what is shown, so that the next refresh is due
		r.set("", errors.New("no answer"))
		time.Sleep(24 * time.Hour)
		require.EqualValues(t, 2, r.asked.Load())
	})
}
