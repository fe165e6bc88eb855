package snapshot

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
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

// inBubble runs f beside a running Keeper, under a clock that only moves when
// everybody waits.
func inBubble(t *testing.T, f func(t *testing.T, k *Keeper, r *fakeRuntime)) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeRuntime{state: "ready"}
		k := New(Config{Fetch: r.fetch})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- k.Run(ctx) }()
		defer func() {
			cancel()
			require.NoError(t, <-done)
		}()
		f(t, k, r)
	})
}

func document(state string) string {
	return `{"status":{"state":"` + state + `","provider":"fake"}}`
}

func read(t *testing.T, k *Keeper) string {
	t.Helper()
	b, err := k.Read(t.Context())
	require.NoError(t, err)
	return string(b)
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

func TestChangeIsSeenWithinOneRefresh(t *testing.T) {
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		read(t, k)
		read(t, k)
		r.set("unavailable", nil)
		time.Sleep(defaultRefresh)
		synctest.Wait()
		require.Equal(t, document("unavailable"), read(t, k))
	})
}

func TestFailingBackendIsShownUntilTheMaximumAge(t *testing.T) {
	gone := errors.New("gone")
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		read(t, k)
		read(t, k)
		r.set("", gone)
		for start := time.Now(); time.Since(start) < defaultMaxAge-time.Millisecond; time.Sleep(time.Millisecond) {
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

func TestHungRefreshDoesNotOutliveTheMaximumAge(t *testing.T) {
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		read(t, k)
		read(t, k)
		r.mu.Lock()
		r.delay = time.Hour
		r.mu.Unlock()
		time.Sleep(defaultRefresh + time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), defaultMaxAge)
		defer cancel()
		for {
			if _, err := k.Read(ctx); err != nil {
				require.ErrorIs(t, err, context.DeadlineExceeded)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

func TestSickBackendGetsNoStorm(t *testing.T) {
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		r.set("", errors.New("sick"))
		for range 1000 {
			_, err := k.Read(t.Context())
			require.Error(t, err)
			time.Sleep(time.Millisecond)
		}
		require.LessOrEqual(t, r.asked.Load(), int64(5))
	})
}

func TestInvalidateDropsAnswersAskedForBefore(t *testing.T) {
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		r.delay = time.Second
		got := make(chan string)
		go func() { got <- read(t, k) }()
		synctest.Wait() // the refresh has observed "ready" and is on its way back
		r.set("stopped", nil)
		k.Invalidate()
		require.Equal(t, document("stopped"), <-got)
		require.EqualValues(t, 2, r.asked.Load())
	})
}

func TestAnswerSlowerThanTheMaximumAgeStillReachesItsReader(t *testing.T) {
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		r.delay = 2 * defaultMaxAge
		require.Equal(t, document("ready"), read(t, k))
	})
}

func TestSlowPollerNeverSeesItsPreviousPoll(t *testing.T) {
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		for _, state := range []string{"stopped", "starting", "ready", "stopping"} {
			r.set(state, nil)
			time.Sleep(5 * time.Second)
			require.Equal(t, document(state), read(t, k))
		}
		require.EqualValues(t, 4, r.asked.Load())
	})
}

func TestLapsedStatusServesWhileTheBackendIsGoneOrSlow(t *testing.T) {
	for name, harm := range map[string]func(r *fakeRuntime){
		"gone": func(r *fakeRuntime) { r.err = errors.New("gone") },
		"slow": func(r *fakeRuntime) { r.delay = time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
				read(t, k)
				r.mu.Lock()
				harm(r)
				r.mu.Unlock()
				time.Sleep(defaultRefresh + time.Second)
				require.Equal(t, document("ready"), read(t, k))
				time.Sleep(defaultMaxAge)
				_, err := k.Read(t.Context())
				require.Error(t, err)
			})
		})
	}
}

func TestReaderGivesUpWithItsContext(t *testing.T) {
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		r.delay = time.Hour
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := k.Read(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Zero(t, k.waiting)
	})
}

// Whoever waits when Run ends, or comes later, is not kept until the time-out.
func TestEndOfRunEndsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := New(Config{Fetch: func(context.Context) (Status, error) { return Status{}, errors.New("away") }})
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
		k := New(Config{Fetch: (&fakeRuntime{}).fetch})
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
