package logqueue

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// slow takes its time with each write, during which nothing may change what it was
// given.
type slow struct{ text bytes.Buffer }

func (s *slow) Write(p []byte) (int, error) {
	time.Sleep(time.Duration(len(p)%3) * time.Millisecond)
	return s.text.Write(p)
}

// Every line arrives, whole and in order, whether the writer rests between them or
// not.
func TestLinesArriveWhole(t *testing.T) {
	out := &slow{}
	w := New(out)
	var want strings.Builder
	for i := range 500 {
		line := fmt.Sprintf("line %d %s\n", i, strings.Repeat("x", i%97))
		want.WriteString(line)
		_, _ = w.Write([]byte(line))
		if i%7 == 0 {
			time.Sleep(2 * time.Millisecond) // the writer has nothing to do meanwhile, at times
		}
	}
	w.Close(10 * time.Second)
	assert.Equal(t, want.String(), out.text.String())
	assert.Zero(t, w.Dropped())
}

// stuck takes nothing until it is let go.
type stuck struct {
	bytes.Buffer
	free chan struct{}
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.free
	return s.Buffer.Write(p)
}

// What was lost shortly before the end is told as well.
func TestLossIsToldAtTheEnd(t *testing.T) {
	out := &stuck{free: make(chan struct{})}
	w := New(out)
	w.OnLoss(func(lines int) { fmt.Fprintf(w, "%d lines were lost\n", lines) })
	for range 2 * maxQueued {
		_, _ = w.Write([]byte("x\n"))
	}
	time.AfterFunc(100*time.Millisecond, func() { close(out.free) })
	w.Close(10 * time.Second)
	assert.Contains(t, out.String(), fmt.Sprintf("%d lines were lost\n", w.Dropped()))
}
