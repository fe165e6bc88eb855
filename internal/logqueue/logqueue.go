// Package logqueue writes a log without holding up who logs: lines wait in a
// bounded queue for one goroutine, and what finds no room, or cannot be written,
// is counted instead.
package logqueue

import (
	"bytes"
	"io"
	"sync/atomic"
	"time"
)

// maxQueued bounds what waits, in lines of a few hundred bytes: the longest, with the
// stack of a panic, has 10 KB or so.
const maxQueued = 4096

// Writer is an io.Writer of whole lines that never waits and never fails.
type Writer struct {
	out     io.Writer
	queue   chan []byte   // lines; nil is the end
	ended   chan struct{} // closed when nothing more is written
	dropped atomic.Int64  // lines, in all
	onLoss  atomic.Pointer[func(lines int)]
}

// New returns a Writer to out, which may block. Close ends it.
func New(out io.Writer) *Writer {
	w := &Writer{out: out, queue: make(chan []byte, maxQueued), ended: make(chan struct{})}
	go w.run()
	return w
}

// Write queues p, which is one or more lines.
func (w *Writer) Write(p []byte) (int, error) {
	select {
	case w.queue <- append([]byte{}, p...):
	default:
		w.drop(p)
	}
	return len(p), nil
}

func (w *Writer) drop(p []byte) { w.dropped.Add(int64(bytes.Count(p, []byte("\n")))) }

// Dropped is how many lines were lost so far.
func (w *Writer) Dropped() int { return int(w.dropped.Load()) }

// OnLoss has tell called, which may write to w, when lines were lost and others
// could be written again.
func (w *Writer) OnLoss(tell func(lines int)) { w.onLoss.Store(&tell) }

// Close, which is called once, waits until all is written that was queued before, for timeout at most.
// Then a write that hangs is left to end by itself.
func (w *Writer) Close(timeout time.Duration) {
	late := time.After(timeout)
	select {
	case w.queue <- nil:
	case <-late:
		return
	}
	select {
	case <-w.ended:
	case <-late:
	}
}

func (w *Writer) run() {
	defer close(w.ended)
	told := 0
	for line := range w.queue {
		if line == nil {
			if len(w.queue) > 0 { // perhaps that lines were lost
				select {
				case w.queue <- nil:
					continue
				default:
				}
			}
			return
		}
		n, err := w.out.Write(line)
		w.drop(line[n:])
		lost, tell := w.Dropped()-told, w.onLoss.Load()
		if err == nil && lost > 0 && tell != nil && len(w.queue) < maxQueued/2 { // else it could be lost as well
			told += lost
			(*tell)(lost)
		}
	}
}
