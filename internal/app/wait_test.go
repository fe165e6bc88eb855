package app

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/store"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// machine is a static runtime.
func machine() *backend.Static {
	return backend.NewStatic(backend.StaticConfig{State: "stopped", Transition: 50 * time.Millisecond})
}

// waitingOn is a waiting with a store in memory and a runtime, both running.
func waitingOn(t *testing.T, runtime backend.Backend) (w *waiting, set *metrics.Set) {
	w, set, _ = waitingIn(t, "", runtime)
	return w, set
}

// waitingIn is the same with a store in a data directory, until end.
func waitingIn(t *testing.T, dir string, runtime backend.Backend) (w *waiting, set *metrics.Set, end func()) {
	set = metrics.NewSet()
	w = newWaiting(set)
	s, err := store.Open(t.Context(), store.Config{
		Dir: dir, Keep: 24 * time.Hour, Timeout: time.Minute, LateReply: time.Minute, Changed: w.changed,
		Logger: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet(),
	})
	require.NoError(t, err)
	w.operations, w.runtime = s, runtime
	return w, set, harness.Run(t, s.Run, w.run)
}

func (w *waiting) insert(t *testing.T, action lifecycle.Action) (id string) {
	t.Helper()
	id = uuid.NewString()
	_, err := w.operations.Begin(t.Context(), lifecycle.Write{Operation: lifecycle.Operation{ID: id, Action: action, Account: "a", RequestID: "r"}})
	require.NoError(t, err)
	return id
}

func (w *waiting) accept(t *testing.T, id string) {
	t.Helper()
	_, err := w.operations.Ended(id, lifecycle.Accepted, nil, 0)
	require.NoError(t, err)
}

func (w *waiting) receipt(t *testing.T, id string) lifecycle.Receipt {
	t.Helper()
	r, err := w.operations.Receipt(t.Context(), id)
	require.NoError(t, err)
	return r
}

// Only an opposite write supersedes that was requested later and is accepted later;
// of those that are not of the store, only one whose first reply comes later.
func TestSuperseded(t *testing.T) {
	w, _ := waitingOn(t, machine())
	earlier := w.insert(t, lifecycle.Stop)
	own := w.insert(t, lifecycle.Start)
	before, after, alike := w.insert(t, lifecycle.Stop), w.insert(t, lifecycle.Stop), w.insert(t, lifecycle.Start)
	w.accept(t, before)
	w.accept(t, own)
	w.reply("foreign", lifecycle.Stop) // known from now on
	since, r := time.Now(), w.receipt(t, own)
	w.accept(t, earlier)
	w.accept(t, alike)
	w.reply("foreign", lifecycle.Stop)
	w.reply(earlier, lifecycle.Stop) // as another replica's stream tells of it
	w.reply("another", lifecycle.Start)
	superseded := func(r lifecycle.Receipt, since time.Time) {
		t.Helper()
		require.Eventually(t, func() bool { return w.superseded(r, since) }, harness.WaitLimit, time.Millisecond)
	}
	superseded(lifecycle.Receipt{Action: lifecycle.Stop}, since) // replies are looked up one after the other
	require.False(t, w.superseded(r, since))
	w.accept(t, after)
	superseded(r, since)

	own = w.insert(t, lifecycle.Stop)
	w.accept(t, own)
	since, r = time.Now(), w.receipt(t, own)
	require.False(t, w.superseded(r, since))
	w.reply("foreign too", lifecycle.Start)
	superseded(r, since)
}

// What was superseded is so for the next process too, whichever write is accepted first.
func TestSupersededBefore(t *testing.T) {
	dir := t.TempDir()
	w, _, end := waitingIn(t, dir, machine())
	own, stop, quick := w.insert(t, lifecycle.Start), w.insert(t, lifecycle.Stop), w.insert(t, lifecycle.Stop)
	for _, id := range []string{quick, own, stop} { // as the replies come
		w.accept(t, id)
	}
	require.True(t, w.superseded(w.receipt(t, own), time.Now()))
	end()
	w, _, end = waitingIn(t, dir, machine())
	defer end()
	require.Eventually(t, func() bool { return w.superseded(w.receipt(t, own), time.Now()) }, harness.WaitLimit, time.Millisecond)
	require.False(t, w.superseded(w.receipt(t, stop), time.Now()))
}

// One on another replica that is seen only once its state is reached supersedes as well,
// and ends the start under way.
func TestSupersededElsewhere(t *testing.T) {
	w, _ := waitingOn(t, machine())
	own := w.insert(t, lifecycle.Start)
	w.accept(t, own)
	require.Eventually(t, func() bool { return w.underWay() > 0 }, harness.WaitLimit, time.Millisecond)
	at := time.Now().Add(time.Second)
	w.changed(lifecycle.Receipt{Action: lifecycle.Stop, Sequence: 2, Outcome: lifecycle.Accepted, AcceptedAt: at, ReachedAt: at}, true)
	require.Zero(t, w.underWay())
}

// A state that is reached is noted, which measures the start, whichever comes first,
// the status or the record of the acceptance; what a process before this one had
// accepted is noted with the first status.
func TestReachedIsNoted(t *testing.T) {
	machine := machine()
	w, set := waitingOn(t, machine)
	for range 2 {
		for _, order := range []string{"record first", "status first"} {
			id := w.insert(t, lifecycle.Start)
			_, err := machine.Apply(t.Context(), lifecycle.Operation{Action: lifecycle.Start})
			require.NoError(t, err)
			if order == "status first" {
				require.Eventually(t, func() bool { return w.isIn("ready") == 1 }, 10*time.Second, time.Millisecond)
			}
			w.accept(t, id)
			require.Eventually(t, func() bool {
				op, err := w.operations.Receipt(t.Context(), id)
				return err == nil && !op.ReachedAt.IsZero()
			}, 10*time.Second, 5*time.Millisecond, order)
			assert.Zero(t, w.underWay())
			_, err = machine.Apply(t.Context(), lifecycle.Operation{Action: lifecycle.Stop})
			require.NoError(t, err)
			require.Eventually(t, func() bool { return w.isIn("stopped") == 1 }, 10*time.Second, time.Millisecond)
		}
	}
	var text strings.Builder
	set.WritePrometheus(&text)
	assert.Contains(t, text.String(), "bus_vm_start_duration_seconds_count 4\n")
	assert.Contains(t, text.String(), "bus_vm_start_estimate_error_ratio_count 1\n", "three make an estimate")
	id := w.insert(t, lifecycle.Start)
	w.accept(t, id)
	require.Eventually(t, func() bool { return w.underWay() > 0 }, 10*time.Second, time.Millisecond)
	left, known := w.left()
	assert.True(t, known)
	assert.LessOrEqual(t, left, w.usual)
	assert.Equal(t, 1., w.isIn("stopped"))
	assert.Zero(t, w.isIn(otherState))
}

// overtaken is a runtime that was seen ready before what it is given happens.
type overtaken struct {
	backend.Backend
	once   sync.Once
	then   chan func()
	looked chan struct{} // for each look, as long as there is room
}

func (o *overtaken) Latest() *backend.News {
	var seen *backend.Seen
	o.once.Do(func() {
		seen = &backend.Seen{State: "ready", AskedAt: time.Now()}
		(<-o.then)()
	})
	select {
	case o.looked <- struct{}{}:
	default:
	}
	return &backend.News{Seen: seen}
}

// A write that is accepted just when a status from before it is looked at has not
// reached its state.
func TestReachedBefore(t *testing.T) {
	before := &overtaken{then: make(chan func()), looked: make(chan struct{}, 9)}
	w, _ := waitingOn(t, before)
	id := w.insert(t, lifecycle.Start)
	before.then <- func() { w.accept(t, id) }
	for range 4 { // what this look led to has been done when the acceptance leads to the next
		<-before.looked
	}
	op, err := w.operations.Receipt(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, []any{lifecycle.Accepted, time.Time{}}, []any{op.Outcome, op.ReachedAt})
}

// heard is a runtime that is told of acceptances.
type heard struct {
	*backend.Static
	at []time.Time
}

func (h *heard) AcceptedAt(at time.Time) { h.at = append(h.at, at) }

// What the store tells of before the reply does counts for the status all the same.
func TestAcceptedOnAnotherReplica(t *testing.T) {
	runtime := &heard{Static: machine()}
	w, _ := waitingOn(t, runtime)
	op, err := w.operations.Receipt(t.Context(), w.insert(t, lifecycle.Start))
	require.NoError(t, err)
	w.changed(op, true)
	at := time.Now()
	op.Outcome, op.AcceptedAt = lifecycle.Accepted, at
	w.changed(op, false)
	require.Empty(t, runtime.at)
	w.changed(op, true)
	op.Leader, op.AcceptedAt = "another", time.Now() // which was told of before
	w.changed(op, true)
	require.Equal(t, []time.Time{at}, runtime.at)
}

// A state that is reached while the store takes no writes is noted once it does, although
// no further status is asked for.
func TestReachedWhileTheStoreIsAway(t *testing.T) {
	machine := machine()
	home := t.TempDir()
	dir, away := filepath.Join(home, "data"), filepath.Join(home, "away")
	w, _, end := waitingIn(t, dir, machine)
	defer end()
	id := w.insert(t, lifecycle.Start)
	w.accept(t, id)
	require.NoError(t, os.Rename(dir, away))
	_, err := w.operations.Begin(t.Context(), lifecycle.Write{Operation: lifecycle.Operation{ID: uuid.NewString(), Action: lifecycle.Stop, Account: "a"}})
	require.Error(t, err)
	_, err = machine.Apply(t.Context(), lifecycle.Operation{Action: lifecycle.Start})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return w.isIn("ready") == 1 }, harness.WaitLimit, time.Millisecond)
	time.Sleep(100 * time.Millisecond) // it is not noted
	require.NoError(t, os.Rename(away, dir))
	require.Eventually(t, func() bool { return !w.receipt(t, id).ReachedAt.IsZero() }, harness.WaitLimit, 10*time.Millisecond)
}

// said is a runtime whose latest status is what the test says.
type said struct {
	backend.Backend
	mu      sync.Mutex
	news    backend.News
	changed chan struct{}
}

func (s *said) Latest() *backend.News {
	s.mu.Lock()
	defer s.mu.Unlock()
	news := s.news
	news.Changed = s.changed
	return &news
}

func (s *said) say(state string, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.news = backend.News{Seen: &backend.Seen{State: state, AskedAt: time.Now()}, Since: since}
	close(s.changed)
	s.changed = make(chan struct{})
}

// An acceptance that the store takes long after the reply has reached the state that was
// seen between the two: there may be no further status, and the start would keep others
// from being sent.
func TestReachedBeforeItsRecord(t *testing.T) {
	runtime := &said{changed: make(chan struct{})}
	w, _ := waitingOn(t, runtime)
	id := w.insert(t, lifecycle.Start)
	reply := time.Now()
	runtime.say("ready", reply)
	time.Sleep(recordedWithin + 500*time.Millisecond) // the store does not take the end
	w.accept(t, id)
	require.Eventually(t, func() bool { return !w.receipt(t, id).ReachedAt.IsZero() }, harness.WaitLimit, 10*time.Millisecond)
}
