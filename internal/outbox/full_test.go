package outbox

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

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
			if err := o.Requested(t.Context(), op); !errors.Is(err, want) {
				t.Fatalf("got %v, want %v", err, want)
			}
		}
		requested(one, nil)
		requested(two, nil)
		// One place is free, but an operation needs two: its end must find room.
		requested(three, ErrFull)
		if err := o.Healthy(); err != nil {
			t.Errorf("a full outbox is not a broken one: %v", err)
		}
		for _, op := range []lifecycle.Operation{one, two} {
			if err := o.Ended(op, lifecycle.Accepted, 0); err != nil {
				t.Errorf("no room for the end of an operation: %v", err)
			}
		}
		requested(three, ErrFull)
		if got := o.count.full.Get(); got != 2 {
			t.Errorf("%d counted as refused, want 2", got)
		}
		g.set(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		requested(three, nil)
		if err := o.Ended(three, lifecycle.Accepted, 0); err != nil {
			t.Fatal(err)
		}
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
		if err := o.Requested(t.Context(), op); err != nil {
			t.Fatal(err)
		}
		if err := o.Requested(t.Context(), op); !errors.Is(err, ErrDuplicate) {
			t.Errorf("got %v, want %v", err, ErrDuplicate)
		}
		for range 2 {
			if err := o.Ended(op, lifecycle.Accepted, 0); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		wantEvents(t, s.records(), requestedEvent, finishedEvent)
	})
}

func TestEndOfAnUnknownOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(nil)
		o := start(t, Config{Dir: t.TempDir(), Sender: s})
		if err := o.Ended(newOperation(), lifecycle.Accepted, 0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantEvents(t, s.records())
		if got := o.count.late.Get(); got != 1 {
			t.Errorf("%d counted, want 1", got)
		}
	})
}

func TestClosed(t *testing.T) {
	o := start(t, Config{Dir: t.TempDir(), Sender: newSink(nil)})
	op := newOperation()
	if err := o.Requested(t.Context(), op); err != nil {
		t.Fatal(err)
	}
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
	if err := o.Close(); err != nil {
		t.Errorf("Close after Run: %v", err)
	}
}
