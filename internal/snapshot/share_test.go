package snapshot

import (
	"encoding/binary"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestShare(t *testing.T) {
	v7 := CorrelationID
	stranger := func() string { return "portal-42" }
	for _, test := range []struct {
		name  string
		id    func() string
		write bool          // a write is accepted before the request
		wait  time.Duration // between the start or the write and the request
		late  bool          // the write comes after the request instead
		shown bool
	}{
		{name: "replica, long after the start", id: v7, wait: doubt + time.Second, shown: true},
		{name: "replica, soon after the start", id: v7, wait: time.Second},
		{name: "stranger, no write", id: stranger, wait: time.Hour},
		{name: "replica, long after a write", id: v7, write: true, wait: doubt + time.Second, shown: true},
		{name: "replica, soon after a write", id: v7, write: true, wait: time.Second},
		{name: "stranger, long after a write", id: stranger, write: true, wait: time.Hour},
		{name: "replica, very late answer from before a write", id: v7, late: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
				if test.write {
					k.Invalidate()
				}
				time.Sleep(test.wait)
				id := test.id()
				if test.late {
					time.Sleep(time.Millisecond)
					k.Invalidate()
					time.Sleep(doubt + time.Second)
				}
				k.Share(id, Status{State: "shared", Provider: "fake"})
				synctest.Wait()
				want := document("ready")
				if test.shown {
					want = document("shared")
				}
				require.Equal(t, want, read(t, k))
			})
		})
	}
}

// A replica asked just before the write, by a clock that runs far ahead.
func TestShareTrustsNoClockThatRunsAhead(t *testing.T) {
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		time.Sleep(time.Hour)
		ahead := uuid.MustParse(CorrelationID())
		var millis [8]byte
		binary.BigEndian.PutUint64(millis[:], uint64(time.Now().Add(2*doubt).UnixMilli()))
		copy(ahead[:6], millis[2:])
		time.Sleep(time.Millisecond)
		k.Invalidate()
		k.Share(ahead.String(), Status{State: "shared", Provider: "fake"})
		synctest.Wait()
		require.Equal(t, document("ready"), read(t, k))
	})
}

func TestShareNeverReplacesANewerAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		time.Sleep(doubt + time.Second)
		older := CorrelationID()
		time.Sleep(time.Second)
		read(t, k)
		k.Share(older, Status{State: "old", Provider: "fake"})
		require.Equal(t, document("ready"), read(t, k))
	})
}

func TestSharedStatusSavesReplicasTheirRefresh(t *testing.T) {
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		time.Sleep(doubt + time.Second)
		read(t, k)
		for range 100 {
			time.Sleep(time.Second)
			k.Share(CorrelationID(), Status{State: "ready", Provider: "fake"})
			read(t, k)
		}
		require.EqualValues(t, 1, r.asked.Load())
	})
}

func TestUnprovenNewsMakesTheNextReaderAsk(t *testing.T) {
	inBubble(t, func(t *testing.T, k *Keeper, r *fakeRuntime) {
		read(t, k)
		r.set("stopped", nil)
		k.Share("portal-42", Status{State: "ready", Provider: "fake"})
		require.Equal(t, document("ready"), read(t, k), "it says nothing new")
		k.Share("portal-43", Status{State: "stopped", Provider: "fake"})
		require.Equal(t, document("stopped"), read(t, k))
		require.EqualValues(t, 2, r.asked.Load())
		r.set("", errors.New("gone"))
		k.Share("portal-44", Status{State: "old", Provider: "fake"})
		require.Equal(t, document("stopped"), read(t, k), "what was shown serves on")
	})
}
