// Package feed streams changes of the status and of operations, as text/event-stream.
// Each event is rendered once, for all readers, and kept for a while for readers that
// come back.
package feed

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
)

const (
	// keptEvents and keptBytes bound the events that are kept, oldest first.
	keptEvents, keptBytes = 1024, 1 << 20
	// detailsEvery is how often a status that differs in its details alone is sent.
	detailsEvery = time.Second
	// statusWait bounds how long a new reader waits for the present status; after it the
	// reader gets the next one.
	statusWait = 2 * time.Second
)

// Runtime is what has the status, see backend.Backend.
type Runtime interface {
	See(ctx context.Context) (*snapshot.Seen, error)
	Latest() (seen *snapshot.Seen, changed <-chan struct{})
	Follow() (release func())
}

// Operation is an operation as it is now.
type Operation struct {
	ID, Account string
	// Stage grows with each change of the operation.
	Stage int
	// Document is JSON in one line, for its account and for operators.
	Document []byte
}

// Config configures a Feed. All of it is required.
type Config struct {
	Runtime Runtime
	// Recent returns the operations that r must have after a gap, the latest change last.
	Recent func(ctx context.Context, r Reader) ([]Operation, error)
	// Over is closed when all streams end.
	Over <-chan struct{}
	// Metrics gets bus_vm_streams_….
	Metrics *metrics.Set
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
	release func() // of Runtime.Follow, which is on while there are streams
}

// event is shared by its readers. Only an operation has an ID.
type event struct {
	Operation
	number uint64
	text   []byte
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
		_, changed := f.config.Runtime.Latest()
		f.mu.Lock()
		_, held := f.observe()
		f.mu.Unlock()
		var again <-chan time.Time
		if held > 0 {
			again = time.After(held)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-again:
		}
	}
}

// observe sends the status if it has changed, and returns it; nil if it is not known
// now. Held is how long a change of details alone is still held back from the readers
// that have the state; a new reader gets the latest details at once. The caller holds mu.
func (f *Feed) observe() (seen *snapshot.Seen, held time.Duration) {
	seen, _ = f.config.Runtime.Latest()
	if seen == nil {
		return nil, 0
	}
	if f.seen == nil || !bytes.Equal(seen.ETag, f.seen.ETag) {
		if held = detailsEvery - time.Since(f.sentAt); f.seen == nil || seen.State != f.seen.State || held <= 0 {
			f.seen, f.sentAt, held = seen, time.Now(), 0
			f.publish(&event{text: status(seen)})
		}
	}
	for s := range f.streams {
		if s.wanting {
			s.wanting = false
			s.push(&event{number: f.last, text: f.identified(f.last, status(seen))})
		}
	}
	return seen, held
}

// Publish sends an operation that has changed. It returns at once.
func (f *Feed) Publish(op Operation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.publish(&event{Operation: op, text: op.text()})
}

// publish holds mu.
func (f *Feed) publish(e *event) {
	f.last++
	e.number, e.text = f.last, f.identified(f.last, e.text)
	f.kept = append(f.kept, e)
	f.size += len(e.text)
	for len(f.kept) > keptEvents || f.size > keptBytes {
		f.size -= len(f.kept[0].text)
		f.kept = f.kept[1:]
	}
	for s := range f.streams {
		if s.wants(e) {
			s.wanting = s.wanting && e.ID != ""
			s.push(e)
		}
	}
}

// after returns the events after the one with that id; false where it is of another
// boot, or too old. The caller holds mu.
func (f *Feed) after(id string) (events []*event, ok bool) {
	boot, number, _ := strings.Cut(id, ".")
	n, err := strconv.ParseUint(number, 10, 64)
	first := f.last + 1 - uint64(len(f.kept))
	if err != nil || boot != f.boot || n == 0 || n > f.last || n+1 < first {
		return nil, false
	}
	return f.kept[n+1-first:], true
}

// identified puts an id in front of an event. Number 0 is that of no event,
// and too old: a reader that comes back with it is sent everything again.
func (f *Feed) identified(number uint64, text []byte) []byte {
	return append(fmt.Appendf(nil, "id: %s.%d\n", f.boot, number), text...)
}

func status(seen *snapshot.Seen) []byte {
	object := seen.Document[len(`{"status":`) : len(seen.Document)-len(`}`)]
	return fmt.Appendf(nil, "event: status\ndata: %s\n\n", object)
}

func (op Operation) text() []byte {
	return fmt.Appendf(nil, "event: operation\ndata: %s\n\n", op.Document)
}

// Subscribe begins a stream for r after the event with the id after: with what came
// since, where that is known, else with a reset, the present status and what Recent
// returns, the latest changes up to behind; without an id, with the present status.
// Errors are those of Recent. Close must follow.
func (f *Feed) Subscribe(ctx context.Context, r Reader, after string) (*Stream, error) {
	look, cancel := context.WithTimeout(ctx, statusWait)
	_, unseen := f.config.Runtime.See(look)
	cancel()

	s := &Stream{
		Reader: r, feed: f, ctx: ctx, wake: make(chan struct{}, 1),
		timer: time.NewTimer(heartbeat), beat: time.Now().Add(heartbeat),
		rest: fmt.Appendf(nil, "retry: %d\n\n", (retryMin + rand.N(retryMax-retryMin)).Milliseconds()),
	}
	f.mu.Lock()
	seen, _ := f.observe()
	known := seen != nil && unseen == nil
	s.from = f.last
	events, resumed := f.after(after)
	for _, e := range events {
		if s.wants(e) {
			s.pending = append(s.pending, e)
		}
	}
	s.wanting = !resumed && !known
	if len(f.streams) == 0 {
		f.release = f.config.Runtime.Follow()
	}
	f.streams[s] = struct{}{}
	f.mu.Unlock()

	var truth [][]byte
	if known && !resumed {
		truth = append(truth, status(seen))
	}
	if after != "" && !resumed {
		recent, err := f.config.Recent(ctx, r)
		if err != nil {
			s.Close()
			return nil, err
		}
		for i, size := len(recent)-1, 0; i >= 0; i-- {
			if size += len(recent[i].Document); size > behind {
				recent = recent[i+1:]
				break
			}
		}
		s.rest = append(s.rest, f.identified(0, []byte("event: reset\ndata: {}\n\n"))...)
		for _, op := range recent {
			truth = append(truth, op.text())
		}
		s.forget(recent)
	}
	for i, text := range truth {
		number := uint64(0)
		if known && i == len(truth)-1 {
			number = s.from
		}
		s.rest = append(s.rest, f.identified(number, text)...)
	}
	return s, nil
}
