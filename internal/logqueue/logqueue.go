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

// maxQueued bounds what waits, in bytes.
const maxQueued = 1 << 20

// Writer is an io.Writer of whole lines that never waits and never fails.
type Writer struct {
	out   io.Writer
	ended chan struct{} // closed when nothing more is written

	mu      sync.Mutex
	changed sync.Cond // queue or closed
	queue   []byte
	closed  bool
	dropped int // lines, in all
	onLoss  func(lines int)
}

// New returns a Writer to out, which may block. Close ends it.
func New(out io.Writer) *Writer {
	w := &Writer{out: out, ended: make(chan struct{})}
	w.changed.L = &w.mu
	go w.run()
	return w
}

// Write queues p, which is one or more lines.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.queue)+len(p) > maxQueued {
		w.dropped += lines(p)
	} else {
		w.queue = append(w.queue, p...)
		w.changed.Signal()
	}
	return len(p), nil
}

func lines(p []byte) int { return bytes.Count(p, []byte("\n")) }

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
	w.closed = true
	w.changed.Signal()
	w.mu.Unlock()
	select {
	case <-w.ended:
	case <-time.After(timeout):
	}
}

// run writes all that has come at once.
func (w *Writer) run() {
	defer close(w.ended)
	w.mu.Lock()
	defer w.mu.Unlock()
	for told := 0; ; {
		for len(w.queue) == 0 {
			if w.closed {
				return
			}
			w.changed.Wait()
		}
		batch := w.queue
		w.queue = nil
		w.mu.Unlock()
		n, err := w.out.Write(batch)
		w.mu.Lock()
		w.dropped += lines(batch[n:])
		lost, tell := w.dropped-told, w.onLoss
		if err != nil || lost == 0 || tell == nil || len(w.queue) > maxQueued/2 { // where it could be lost as well
			continue
		}
		told = w.dropped
		w.mu.Unlock()
		tell(lost)
		w.mu.Lock()
	}
}
