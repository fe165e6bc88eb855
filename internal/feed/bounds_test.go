package feed

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// One that is too far behind is cut off, by its own events alone; what it was given at
// its beginning does not count.
func TestBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.is("ready", "")
		big := func(account string) {
			w.Publish(Operation{ID: "x", Account: account, Document: bytes.Repeat([]byte("x"), 60<<10)})
		}
		for range 10 {
			big("a")
		}
		slow, other := w.open(Reader{Account: "a"}, w.boot+".1"), w.open(Reader{Account: "b"}, "")
		for range 4 {
			big("a")
		}
		require.Equal(t, 14, strings.Count(w.told(slow), "event: operation"))
		for range 5 {
			big("a")
		}
		_, err := slow.Read(make([]byte, 1))
		require.ErrorIs(t, err, errBehind)
		big("a") // which is not counted again
		require.NotContains(t, w.told(other), "operation")
		require.Contains(t, metricsOf(w), "bus_vm_streams_cut_off_total 1\n")
		require.NoError(t, slow.Close())
		require.NoError(t, other.Close())
	})
}

func TestKeptIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for range 3 * keptEvents {
			w.changes("a", "x")
		}
		require.Len(t, w.kept, keptEvents)
		for after, want := range map[uint64]bool{w.last - keptEvents: true, w.last - keptEvents - 1: false} {
			_, ok := w.position(fmt.Sprintf("%s.%d", w.boot, after))
			require.Equal(t, want, ok)
			events, _ := w.since(after)
			require.Len(t, events, map[bool]int{true: keptEvents}[want])
		}
		for range 100 {
			w.Publish(Operation{ID: "y", Document: bytes.Repeat([]byte("x"), 100<<10)})
		}
		size := 0
		for _, e := range w.kept {
			size += len(e.text)
		}
		require.Equal(t, w.size, size)
		require.InDelta(t, keptBytes, size, 101<<10)
		require.LessOrEqual(t, size, keptBytes)
	})
}
