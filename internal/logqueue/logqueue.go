// Package logqueue writes a log without holding up who logs: lines wait in a
// bounded queue for one goroutine, and what finds no room, or cannot be written,
// is counted instead.
package logqueue

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	maxQueued = 1 << 20  // bounds what waits, in bytes
	maxSpare  = 64 << 10 // bounds the memory that is kept for the next lines
)

// Writer is an io.Writer of whole lines that never waits and never fails.
type Writer struct {
	out   io.Writer
	wake  chan struct{} // room for one signal
	ended chan struct{} // closed when nothing more is written

	mu      sync.Mutex
	queue   []byte
	closed  bool
	dropped int // lines, in all
	told    int // of dropped, those that onLoss was told
	onLoss  func(lines int)
}

// New returns a Writer to out, which may block. Close ends it.
func New(out io.Writer) *Writer {
	w := &Writer{out: out, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go w.run()
	return w
}

// Write queues p, which is one or more lines.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.queue)+len(p) > maxQueued {
		w.dropped += bytes.Count(p, newline)
		return len(p), nil
	}
	w.queue = append(w.queue, p...)
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return len(p), nil
}

var newline = []byte("\n")

// Dropped is how many lines were lost so far.
func (w *Writer) Dropped() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropped
}

// OnLoss has tell called, which may write to w, when lines were lost and others
// could be written again.
func (w *Writer) OnLoss(tell func(lines int)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.onLoss = tell
}

// Close waits until all is written that was queued before, for timeout at most.
// Then a write that hangs is left to end by itself.
func (w *Writer) Close(timeout time.Duration) {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.wake) // under mu, as Write sends
	}
	w.mu.Unlock()
	select {
	case <-w.ended:
	case <-time.After(timeout):
	}
}

// run writes all that has come at once.
func (w *Writer) run() {
	defer close(w.ended)
	var spare []byte
	for open := true; open; {
		_, open = <-w.wake
		for {
			w.mu.Lock()
			lines := w.queue
			if len(lines) == 0 {
				w.mu.Unlock()
				break
			}
			w.queue = spare[:0] // another buffer than lines
			w.mu.Unlock()
			n, err := w.out.Write(lines)
			w.wrote(err == nil, bytes.Count(lines[n:], newline))
			if spare = lines; cap(spare) > maxSpare {
				spare = nil
			}
		}
	}
}

// wrote notes the lines that were lost, and tells of all such once lines are
// written again.
func (w *Writer) wrote(well bool, lost int) {
	w.mu.Lock()
	w.dropped += lost
	lost, tell := w.dropped-w.told, w.onLoss
	if !well || lost == 0 || tell == nil || len(w.queue) > maxQueued/2 { // where it could be lost as well
		w.mu.Unlock()
		return
	}
	w.told = w.dropped
	w.mu.Unlock()
	tell(lost)
}
