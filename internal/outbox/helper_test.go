package outbox

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// recorder is what routes asks of an outbox.
type recorder interface {
	Requested(ctx context.Context, op lifecycle.Operation) error
	Ended(op lifecycle.Operation, outcome lifecycle.Outcome, took time.Duration) error
}

var _ recorder = (*Outbox)(nil)

const account = "0d2f4c1e-9a55-4f0e-8f1c-0a4d3f6f7a11"

func newOperation() lifecycle.Operation {
	return lifecycle.Operation{
		ID:          uuid.NewString(),
		Action:      lifecycle.Start,
		Account:     account,
		RequestID:   "req-" + uuid.NewString(),
		RequestedAt: time.Now(),
	}
}

// sink is a Sender that keeps what it is given. answer decides what it says,
// nil is "acknowledged"; it may block.
type sink struct {
	answer func(ctx context.Context, r usage.Record) error

	mu       sync.Mutex
	taken    []usage.Record // acknowledged, in order
	tries    int
	underway map[string]int // by event id
	broken   []string       // guarantees of the outbox that did not hold
	changed  chan struct{}
}

func newSink(answer func(context.Context, usage.Record) error) *sink {
	return &sink{answer: answer, underway: map[string]int{}, changed: make(chan struct{}, 1)}
}

func (s *sink) Send(ctx context.Context, r usage.Record) error {
	s.mu.Lock()
	s.tries++
	s.underway[r.EventID]++
	if s.underway[r.EventID] > 1 {
		s.broken = append(s.broken, r.EventID+" sent twice at a time")
	}
	s.mu.Unlock()
	var err error
	if s.answer != nil {
		err = s.answer(ctx, r)
	}
	s.mu.Lock()
	s.underway[r.EventID]--
	if err == nil {
		s.taken = append(s.taken, r)
	}
	s.mu.Unlock()
	wake(s.changed)
	return err
}

func (s *sink) records() []usage.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.taken)
}

// await returns what was acknowledged once there are n records.
func (s *sink) await(t testing.TB, n int) []usage.Record {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		if have := s.records(); len(have) >= n {
			return have
		}
		select {
		case <-s.changed:
		case <-timeout:
			t.Fatalf("%d records delivered, want %d", len(s.records()), n)
		}
	}
}

// events renders records as "type outcome" lines.
func events(records []usage.Record) []string {
	out := []string{}
	for _, r := range records {
		out = append(out, fmt.Sprintf("%s %s", r.EventType, r.Data.Outcome))
	}
	return out
}

func wantEvents(t testing.TB, got []usage.Record, want ...string) {
	t.Helper()
	require.Equal(t, append([]string{}, want...), events(got))
}

const (
	requestedEvent = "runtime_start_requested "
	finishedEvent  = "runtime_start_finished accepted"
	unknownEvent   = "runtime_start_failed unknown"
	notSentEvent   = "runtime_start_failed not_sent"
)

// running is an outbox with its Run going.
type running struct {
	*Outbox
	t    testing.TB
	end  context.CancelFunc
	done chan error
	once sync.Once
}

func mustOpen(t testing.TB, config Config) *Outbox {
	t.Helper()
	o, err := Open(config)
	require.NoError(t, err)
	return o
}

// start opens an outbox and runs it, with its disk as prepare has it.
func start(t testing.TB, config Config, prepare ...func(*Outbox)) *running {
	t.Helper()
	o := mustOpen(t, config)
	for _, p := range prepare {
		p(o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Outbox: o, t: t, end: cancel, done: make(chan error, 1)}
	go func() { r.done <- o.Run(ctx) }()
	t.Cleanup(r.stop)
	return r
}

// noSync makes commits quick, where nothing is killed.
func noSync(o *Outbox) { o.store.db.NoSync = true }

// after lets d pass in the bubble, and everything that is due be done.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// stop ends Run and waits for it.
func (r *running) stop() {
	r.once.Do(func() {
		r.end()
		assert.NoError(r.t, <-r.done, "Run")
	})
}

// pair records a whole operation.
func (r *running) pair(op lifecycle.Operation, outcome lifecycle.Outcome) {
	r.t.Helper()
	require.NoError(r.t, r.Requested(context.Background(), op))
	require.NoError(r.t, r.Ended(op, outcome, time.Second))
}

// pairs records n accepted operations.
func (r *running) pairs(n int) (ops []lifecycle.Operation) {
	r.t.Helper()
	for range n {
		op := newOperation()
		ops = append(ops, op)
		r.pair(op, lifecycle.Accepted)
	}
	return ops
}

// gate is a Sender's answer that fails until it is opened.
type gate struct {
	mu  sync.Mutex
	err error
}

var errDown = errors.New("the usage integration is down")

func (g *gate) set(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
}

func (g *gate) answer(context.Context, usage.Record) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

func equal(a, b []usage.Record) bool { return reflect.DeepEqual(a, b) }

func wantRows(t testing.TB, o *running, records, parked int) {
	t.Helper()
	require.NoError(t, o.store.db.View(func(tx *bbolt.Tx) error {
		assert.Equal(t, records, tx.Bucket([]byte(recordsBucket)).Stats().KeyN, "records in the file")
		assert.Equal(t, parked, tx.Bucket([]byte(parkedBucket)).Stats().KeyN, "parked ones in the file")
		return nil
	}))
}

// checkPairs checks every guarantee and, for each operation, both records
// once, `requested` first.
func checkPairs(t *testing.T, s *sink, ops []lifecycle.Operation) {
	t.Helper()
	assert.Empty(t, s.broken)
	at := map[string][]int{}
	for i, r := range s.records() {
		at[r.EventID] = append(at[r.EventID], i)
	}
	for _, op := range ops {
		begin, end := at[usage.EventID(op.ID, usage.PhaseRequested)], at[usage.EventID(op.ID, usage.PhaseEnded)]
		if len(begin) != 1 || len(end) != 1 || begin[0] > end[0] {
			t.Errorf("operation %s: requested delivered at %v, its end at %v", op.ID, begin, end)
		}
	}
}
