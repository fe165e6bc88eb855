package outbox

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{err: errDown}
		s := newSink(g.answer)
		o := start(t, Config{Dir: t.TempDir(), Sender: s, MaxRecords: 5})
		one, two, three := newOperation(), newOperation(), newOperation()
		requested := func(op lifecycle.Operation, want error) {
			t.Helper()
			require.ErrorIs(t, o.Requested(t.Context(), op), want)
		}
		requested(one, nil)
		requested(two, nil)
		// One place is free, but an operation needs two: its end must find room.
		requested(three, ErrFull)
		assert.NoError(t, o.Healthy(), "a full outbox is not a broken one")
		for _, op := range []lifecycle.Operation{one, two} {
			assert.NoError(t, o.Ended(op, lifecycle.Accepted, 0), "no room for the end of an operation")
		}
		requested(three, ErrFull)
		assert.EqualValues(t, 2, o.count.full.Get())
		g.set(nil)
		after(time.Minute)
		requested(three, nil)
		require.NoError(t, o.Ended(three, lifecycle.Accepted, 0))
		synctest.Wait()
		checkPairs(t, s, []lifecycle.Operation{one, two, three})
	})
}

func TestRoomComesBackWithEachAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(nil)
		o := start(t, Config{Dir: t.TempDir(), Sender: s, MaxRecords: 2})
		var ops []lifecycle.Operation
		for range 20 {
			op := newOperation()
			ops = append(ops, op)
			o.pair(op, lifecycle.Accepted)
			synctest.Wait()
		}
		checkPairs(t, s, ops)
	})
}

func TestDuplicateOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(nil)
		o := start(t, Config{Dir: t.TempDir(), Sender: s})
		op := newOperation()
		require.NoError(t, o.Requested(t.Context(), op))
		assert.ErrorIs(t, o.Requested(t.Context(), op), ErrDuplicate)
		for range 2 {
			require.NoError(t, o.Ended(op, lifecycle.Accepted, 0))
		}
		synctest.Wait()
		wantEvents(t, s.records(), requestedEvent, finishedEvent)
	})
}

func TestEndOfAnUnknownOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(nil)
		o := start(t, Config{Dir: t.TempDir(), Sender: s})
		require.NoError(t, o.Ended(newOperation(), lifecycle.Accepted, 0))
		synctest.Wait()
		wantEvents(t, s.records())
		assert.EqualValues(t, 1, o.count.late.Get())
	})
}

func TestClosed(t *testing.T) {
	o := start(t, Config{Dir: t.TempDir(), Sender: newSink(nil)})
	op := newOperation()
	require.NoError(t, o.Requested(t.Context(), op))
	o.stop()
	for name, err := range map[string]error{
		"Requested": o.Requested(context.Background(), newOperation()),
		"Ended":     o.Ended(op, lifecycle.Accepted, 0),
		"Healthy":   o.Healthy(),
		"Run":       o.Run(context.Background()),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: got %v, want %v", name, err, ErrClosed)
		}
	}
	assert.NoError(t, o.Close(), "Close after Run")
}
