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
