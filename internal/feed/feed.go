// Package feed streams changes of the status and of operations, as text/event-stream.
// Each event is rendered once, for all readers, and kept for a while for readers that
// come back.
package feed

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
)

const (
	keptEvents, keptBytes = 1024, 1 << 20   // the most that are kept, the latest
	detailsEvery          = time.Second     // how often a status is sent whose details alone differ
	statusWait            = 2 * time.Second // how long a new reader waits for the present status, and then for the next
)

// Runtime is what has the status, see backend.Backend.
type Runtime interface {
	See(ctx context.Context) (*snapshot.Seen, error)
	Latest() *snapshot.News
	Follow() (release func())
}

// Operation is an operation as it is now, or, without an ID, the status.
type Operation struct {
	ID, Account string
	Stage       int    // grows with each change
	Document    []byte // JSON in one line, for its account and for operators
}

// Config configures a Feed. All of it is required.
type Config struct {
	Runtime Runtime
	// Recent returns the operations that r must have after a gap, the latest change last.
	Recent  func(ctx context.Context, r Reader) ([]Operation, error)
	Over    <-chan struct{} // closed when all streams end
	Metrics *metrics.Set    // gets bus_vm_streams_…
}

// Feed has the events of one process.
type Feed struct {
	config Config
	boot   string // begins each id
	cutOff *metrics.Counter

	mu      sync.Mutex
	last    uint64 // number of the latest event
	kept    []*event
	size    int            // of kept, in bytes
	seen    *snapshot.Seen // the status that was sent last
	sentAt  time.Time      // when it was
	streams map[*Stream]struct{}
}

// event is shared by its readers.
type event struct {
	Operation
	text []byte
}

// New returns a Feed. It sends the status while it runs.
func New(config Config) *Feed {
	f := &Feed{
		config: config, boot: uuid.NewString()[:8], streams: map[*Stream]struct{}{},
		cutOff: config.Metrics.NewCounter("bus_vm_streams_cut_off_total"),
	}
	config.Metrics.NewGauge("bus_vm_streams_open", func() float64 {
		f.mu.Lock()
		defer f.mu.Unlock()
		return float64(len(f.streams))
	})
	return f
}

// Run sends each change of the status that is seen until ctx ends. The status is asked
// for only while there are streams.
func (f *Feed) Run(ctx context.Context) error {
	for {
		changed := f.config.Runtime.Latest().Changed
		f.mu.Lock()
		seen := f.observe()
		var again <-chan time.Time
		if seen != nil && !bytes.Equal(seen.ETag, f.seen.ETag) { // its details are held back
			again = time.After(detailsEvery / 4)
		}
		f.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-again:
		}
	}
}

// observe sends the status if it has changed, and returns it; nil if it is not known
// now. A change of details alone is held back for a while from the readers that have the
// state; a new reader gets the latest details at once. The caller holds mu.
func (f *Feed) observe() *snapshot.Seen {
	seen := f.config.Runtime.Latest().Seen
	if seen == nil {
		return nil
	}
	if f.seen == nil || seen.State != f.seen.State || !bytes.Equal(seen.ETag, f.seen.ETag) && time.Since(f.sentAt) >= detailsEvery {
		f.seen, f.sentAt = seen, time.Now()
		f.publish(status(seen), seen)
	}
	for s := range f.streams {
		if s.wanting && seen.AskedAt.After(s.since) {
			s.tell(&event{text: f.text(f.last, status(seen))}, seen)
		}
	}
	return seen
}

// Publish sends an operation that has changed. It returns at once.
func (f *Feed) Publish(op Operation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.publish(op, nil)
}

// publish sends an operation, or the status that was seen. The caller holds mu.
func (f *Feed) publish(op Operation, seen *snapshot.Seen) {
	f.last++
	e := &event{op, f.text(f.last, op)}
	f.kept = append(f.kept, e)
	f.size += len(e.text)
	for len(f.kept) > keptEvents || f.size > keptBytes {
		f.size -= len(f.kept[0].text)
		f.kept = f.kept[1:]
	}
	for s := range f.streams {
		switch {
		case seen != nil:
			s.tell(e, seen)
		case s.wants(e) && s.wanting: // it has not been told all up to here
			s.push(&event{text: f.text(0, op)})
		case s.wants(e):
			s.push(e)
		}
	}
}

// since returns the events after the one with that number; false where not all of them
// are kept. The caller holds mu.
func (f *Feed) since(number uint64) (events []*event, ok bool) {
	first := f.last + 1 - uint64(len(f.kept))
	if number > f.last || number+1 < first {
		return nil, false
	}
	return f.kept[number+1-first:], true
}

// position returns the number in an id, if all after it is kept; otherwise the latest.
func (f *Feed) position(id string) (number uint64, resumes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	boot, after, _ := strings.Cut(id, ".")
	number, err := strconv.ParseUint(after, 10, 64)
	if _, kept := f.since(number); err == nil && boot == f.boot && number > 0 && kept {
		return number, true
	}
	return f.last, false
}

// text is op as an event. Number 0 is that of no event, and too old: a reader that comes
// back with it is sent everything again.
func (f *Feed) text(number uint64, op Operation) []byte {
	name := "operation"
	if op.ID == "" {
		name = "status"
	}
	return fmt.Appendf(nil, "id: %s.%d\nevent: %s\ndata: %s\n\n", f.boot, number, name, op.Document)
}

func status(seen *snapshot.Seen) Operation {
	return Operation{Document: seen.Document[len(`{"status":`) : len(seen.Document)-len(`}`)]}
}

// Subscribe begins a stream for r after the event with the id after: with what came
// since, where that is known, else with a reset, the present status and what Recent
// returns, the latest changes up to behind; without an id, with the present status.
// After an error nothing is to be closed.
func (f *Feed) Subscribe(ctx context.Context, r Reader, after string) (*Stream, error) {
	look, cancel := context.WithTimeout(ctx, statusWait)
	present, unseen := f.config.Runtime.See(look)
	cancel()
	position, resumes := f.position(after)
	var recent []Operation
	if after != "" && !resumes {
		var err error
		if recent, err = f.config.Recent(ctx, r); err != nil {
			return nil, err
		}
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	since := f.config.Runtime.Latest().Since
	seen := f.observe()
	known := seen != nil && seen.AskedAt.After(since)
	if known && unseen != nil { // it is too old
		known, since = false, seen.AskedAt
	}
	missed, ok := f.since(position)
	if !ok {
		return nil, errBehind
	}
	s := &Stream{
		Reader: r, feed: f, ctx: ctx, wake: make(chan struct{}, 1), beat: time.Now().Add(heartbeat),
		rest:    fmt.Appendf(nil, "retry: %d\n\n", (retryMin + rand.N(retryMax-retryMin)).Milliseconds()),
		wanting: !resumes && !known, since: since, release: f.config.Runtime.Follow(),
	}
	for _, e := range missed {
		switch {
		case !s.wants(e):
		case resumes:
			s.first = append(s.first, e)
		case e.ID != "" && !slices.ContainsFunc(recent, func(op Operation) bool { return op.ID == e.ID && op.Stage >= e.Stage }):
			recent = append(recent, e.Operation)
		}
	}
	if after != "" && !resumes {
		s.rest = fmt.Appendf(s.rest, "id: %s.0\nevent: reset\ndata: {}\n\n", f.boot)
	}
	var truth []Operation
	switch {
	case resumes:
	case known:
		truth = append(truth, status(seen))
	case unseen == nil: // it was when the stream began, and another may come
		s.began = present.ETag
		truth = append(truth, status(present))
	}
	latest := len(recent)
	for size := 0; latest > 0 && size+len(recent[latest-1].Document) <= behind; latest-- {
		size += len(recent[latest-1].Document)
	}
	truth = append(truth, recent[latest:]...)
	for i, op := range truth {
		number := uint64(0)
		if known && i == len(truth)-1 {
			number = f.last
		}
		s.rest = append(s.rest, f.text(number, op)...)
	}
	f.streams[s] = struct{}{}
	return s, nil
}
