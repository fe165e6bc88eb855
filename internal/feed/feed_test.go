package feed

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a feed with what it stands on.
type world struct {
	t *testing.T
	*Feed
	set  *metrics.Set
	over chan struct{}

	mu       sync.Mutex
	latest   *snapshot.Seen // nil: not known
	present  *snapshot.Seen // the last that was
	accepted time.Time      // when a write was, last
	changed  chan struct{}
	follows  int
	unseen   error
	now      map[string]Operation // by id
	order    []string             // of the last changes
	unread   error
	onRecent func()
}

// newWorld is called in a bubble.
func newWorld(t *testing.T) *world {
	w := &world{t: t, set: metrics.NewSet(), over: make(chan struct{}), changed: make(chan struct{}), now: map[string]Operation{}}
	w.Feed = New(Config{Runtime: w, Recent: w.recent, Over: w.over, Metrics: w.set})
	stop := harness.Run(t, w.Run)
	t.Cleanup(func() { stop(); assert.Zero(t, w.follows, "followed for ever") })
	return w
}

func (w *world) See(context.Context) (*snapshot.Seen, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.present == nil {
		return nil, errors.New("not known yet")
	}
	return w.present, w.unseen
}

func (w *world) Latest() *snapshot.News {
	w.mu.Lock()
	defer w.mu.Unlock()
	return &snapshot.News{Seen: w.latest, Since: w.accepted, Changed: w.changed}
}

func (w *world) Follow() func() {
	w.follows++
	return func() { w.follows-- }
}

// is has the runtime be seen in a state; an empty one is not known.
func (w *world) is(state, details string) { w.wasAsked(time.Now(), state, details) }

// wasAsked is the same of a status that was asked for at that time.
func (w *world) wasAsked(at time.Time, state, details string) {
	w.mu.Lock()
	var err error
	w.latest = nil
	if state != "" {
		w.latest, err = snapshot.Status{State: state, Provider: "p", Details: []byte(cmp.Or(details, "{}"))}.See(at)
		w.present = w.latest
		close(w.changed)
		w.changed = make(chan struct{})
	}
	w.mu.Unlock()
	require.NoError(w.t, err)
	synctest.Wait()
}

func (w *world) recent(_ context.Context, r Reader) (list []Operation, err error) {
	if w.onRecent != nil {
		w.onRecent()
	}
	for _, id := range w.order {
		if op := w.now[id]; r.All || op.Account == r.Account {
			list = append(list, op)
		}
	}
	return list, w.unread
}

// changes is a change of an operation, in the record and told.
func (w *world) changes(account, id string) string {
	op := Operation{ID: id, Account: account, Stage: w.now[id].Stage + 1}
	op.Document = fmt.Appendf(nil, `{"id":%q,"stage":%d}`, id, op.Stage)
	w.now[id] = op
	w.order = append(slices.DeleteFunc(w.order, func(known string) bool { return known == id }), id)
	w.Publish(op)
	return string(op.Document)
}

func (w *world) open(r Reader, after string) *Stream {
	s, err := w.Subscribe(w.t.Context(), r, after)
	require.NoError(w.t, err)
	return s
}

// told reads what is there, with the boot id written as B, and without the retry.
func (w *world) told(s *Stream) string {
	w.t.Helper()
	var all []byte
	pending := func() int {
		w.Feed.mu.Lock()
		defer w.Feed.mu.Unlock()
		return len(s.first) + len(s.pending)
	}
	for s.rest != nil || pending() > 0 {
		var p [100]byte
		n, err := s.Read(p[:])
		require.NoError(w.t, err)
		if all = append(all, p[:n]...); len(s.rest) == 0 {
			s.rest = nil
		}
	}
	text := regexp.MustCompile(`^retry: ([234]\d\d\d|5000)\n\n`).ReplaceAllString(string(all), "")
	return strings.ReplaceAll(text, w.boot, "B")
}

func statusText(n int, state string) string {
	return fmt.Sprintf("id: B.%d\nevent: status\ndata: {\"state\":%q,\"provider\":\"p\",\"details\":{}}\n\n", n, state)
}

func operationText(n int, document string) string {
	return fmt.Sprintf("id: B.%d\nevent: operation\ndata: %s\n\n", n, document)
}

const resetText = "id: B.0\nevent: reset\ndata: {}\n\n"

func TestWhatIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.is("stopped", "")
		mine, all := Reader{Account: "a"}, Reader{All: true}
		one, operator := w.open(mine, ""), w.open(all, "")
		require.Equal(t, 2, w.follows)
		require.Equal(t, statusText(1, "stopped"), w.told(one))
		require.Equal(t, statusText(1, "stopped"), w.told(operator))
		w.is("stopped", "") // again
		first, other := w.changes("a", "x"), w.changes("b", "y")
		w.is("starting", "")
		second := w.changes("a", "x")
		require.Equal(t, operationText(2, first)+statusText(4, "starting")+operationText(5, second), w.told(one))
		require.Equal(t, operationText(2, first)+operationText(3, other)+statusText(4, "starting")+operationText(5, second), w.told(operator))
		require.Contains(t, metricsOf(w), "bus_vm_streams_open 2\n")
		require.NoError(t, one.Close())
		require.NoError(t, one.Close())
		require.Equal(t, 1, w.follows)

		truth := statusText(0, "starting") + operationText(5, second)
		for after, want := range map[string]string{
			"":                      statusText(5, "starting"),
			w.boot + ".5":           "",
			w.boot + ".4":           operationText(5, second),
			w.boot + ".2":           statusText(4, "starting") + operationText(5, second),
			w.boot + ".1":           operationText(2, first) + statusText(4, "starting") + operationText(5, second),
			w.boot + ".0":           resetText + truth,
			w.boot + ".6":           resetText + truth,
			w.boot + ".":            resetText + truth,
			w.boot + ".-1":          resetText + truth,
			"otherone.5":            resetText + truth,
			"x":                     resetText + truth,
			strings.Repeat("1", 40): resetText + truth,
		} {
			s := w.open(mine, after)
			require.Equal(t, want, w.told(s), after)
			require.NoError(t, s.Close())
		}
		again := w.open(Reader{Account: "none"}, "x")
		require.Equal(t, resetText+statusText(5, "starting"), w.told(again))
		require.NoError(t, again.Close())
		again = w.open(all, "x")
		require.Equal(t, resetText+statusText(0, "starting")+operationText(0, other)+operationText(5, second), w.told(again))
		require.NoError(t, again.Close())
		require.NoError(t, operator.Close())
		require.Zero(t, w.follows)

		w.unread = errors.New("the store is away")
		_, err := w.Subscribe(t.Context(), mine, "x")
		require.ErrorIs(t, err, w.unread)
		require.Contains(t, metricsOf(w), "bus_vm_streams_open 0\n")
	})
}

func metricsOf(w *world) string {
	var b bytes.Buffer
	w.set.WritePrometheus(&b)
	return b.String()
}

// A status that is not known now is told when it is, once, even if it is the one that
// was told last, unless the stream began with it.
func TestUnknownStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.is("ready", "")
		early := w.open(Reader{}, "")
		require.Equal(t, statusText(1, "ready"), w.told(early))
		w.is("", "") // a write was accepted
		stale := w.open(Reader{}, "")
		require.Equal(t, statusText(0, "ready"), w.told(stale))
		w.unseen = errors.New("the worker is away")
		w.is("ready", "")
		require.Empty(t, w.told(stale))
		away := w.open(Reader{}, "x")
		require.Equal(t, resetText, w.told(away))
		time.Sleep(time.Second)
		w.is("ready", "")
		require.Equal(t, statusText(1, "ready"), w.told(away))
		w.unseen = nil
		w.is("ready", "")
		w.is("stopped", "")
		for _, s := range []*Stream{early, stale, away} {
			require.Equal(t, statusText(2, "stopped"), w.told(s))
			require.NoError(t, s.Close())
		}
	})
}

// A reader who begins or comes back after a write was accepted has no status from before it,
// although others, who follow for longer, do; and then the one that is so.
func TestStatusFromBeforeTheBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.is("ready", "")
		early := w.open(Reader{}, "")
		require.Equal(t, statusText(1, "ready"), w.told(early))
		w.is("", "")
		before := time.Now()
		time.Sleep(time.Second)
		w.accepted = time.Now()
		late, back := w.open(Reader{}, ""), w.open(Reader{}, w.boot+".1")
		require.Equal(t, statusText(0, "ready"), w.told(late))
		w.wasAsked(before, "stopping", "")
		require.Equal(t, statusText(2, "stopping"), w.told(early))
		require.Empty(t, w.told(late)+w.told(back))
		time.Sleep(time.Second)
		w.is("stopping", "")
		require.Empty(t, w.told(early))
		require.Equal(t, statusText(2, "stopping"), w.told(late))
		require.Equal(t, statusText(2, "stopping"), w.told(back))
		for _, s := range []*Stream{early, late, back} {
			require.NoError(t, s.Close())
		}
	})
}

// What changes while the operations are read is told once, and in its order.
func TestChangeDuringReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.is("ready", "")
		var document, later string
		w.onRecent = func() { w.changes("a", "x"); document = w.changes("a", "x") }
		s := w.open(Reader{Account: "a"}, "x")
		w.onRecent = nil
		later = w.changes("a", "x")
		require.Equal(t, resetText+statusText(0, "ready")+operationText(3, document)+operationText(4, later), w.told(s))
		require.NoError(t, s.Close())
	})
}

func TestDetailsAreToldOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.is("starting", "")
		s := w.open(Reader{}, "")
		require.NotEmpty(t, w.told(s))
		began := time.Now()
		for percent := range 9 {
			w.is("starting", fmt.Sprintf(`{"percent":%d}`, percent))
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		require.Empty(t, w.told(s))
		w.is("", "") // a write was accepted
		w.unseen = errors.New("the worker is slow")
		unknown := w.open(Reader{}, "")
		require.Empty(t, w.told(unknown))
		w.unseen = nil
		w.is("starting", `{"percent":8}`)
		late := w.open(Reader{}, "")
		for _, s := range []*Stream{unknown, late} { // who begin later are told of none before
			require.Contains(t, w.told(s), `"percent":8`)
			require.NoError(t, s.Close())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		require.Contains(t, w.told(s), `"percent":8`)
		require.Less(t, time.Since(began), 3*time.Second)
		w.is("ready", "") // a state at once
		require.Contains(t, w.told(s), `"ready"`)
		require.NoError(t, s.Close())
	})
}

func TestEnds(t *testing.T) {
	end := func(reason string) string { return "event: end\ndata: {\"reason\":\"" + reason + "\"}\n\n" }
	for name, c := range map[string]struct {
		expires time.Duration
		gone    bool
		over    time.Duration
		want    string
		took    time.Duration
		err     error
	}{
		"expiry":        {expires: 40 * time.Second, want: ":\n\n:\n\n" + end("expired"), took: 40 * time.Second},
		"expired":       {expires: -time.Second, want: end("expired")},
		"drain":         {expires: time.Hour, over: 20 * time.Second, want: ":\n\n" + end("draining"), took: 20 * time.Second},
		"reader gone":   {gone: true, took: 15 * time.Second, err: errGone},
		"never, almost": {over: 10 * time.Hour, want: strings.Repeat(":\n\n", 10*240-1), took: 10 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				r := Reader{Gone: func() bool { return c.gone }}
				if c.expires != 0 {
					r.Expires = time.Now().Add(c.expires).Round(0)
				}
				s := w.open(r, "")
				require.Empty(t, w.told(s))
				if c.over != 0 {
					time.AfterFunc(c.over, func() { close(w.over) })
				}
				began := time.Now()
				got, err := io.ReadAll(s)
				require.ErrorIs(t, err, c.err)
				require.Equal(t, c.took, time.Since(began))
				require.True(t, strings.HasPrefix(string(got), c.want), "%s", got)
				require.NoError(t, s.Close())
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		s, err := w.Subscribe(ctx, Reader{}, "")
		require.NoError(t, err)
		time.AfterFunc(time.Second, cancel)
		_, err = io.ReadAll(s)
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, s.Close())
	})
}

// What a reader is told after a gap is bounded as well: it has the latest changes.
func TestResetIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.is("ready", "")
		id := func(i int) string { return fmt.Sprintf("%04d%s", i, strings.Repeat("x", 1000)) }
		for i := range 1000 {
			w.changes("a", id(i))
		}
		s := w.open(Reader{Account: "a"}, "other.1")
		defer s.Close()
		require.LessOrEqual(t, cap(s.rest), 2*behind)
		told := w.told(s)
		assert.Greater(t, len(told), behind/2)
		assert.Contains(t, told, statusText(0, "ready"))
		assert.Contains(t, told, id(999))
		assert.NotContains(t, told, id(0))
		assert.Contains(t, told, "id: B.1001\n", "goes on from here")
	})
}
