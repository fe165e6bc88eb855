package store

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// What is older than it must be goes, unless a record or a key keeps it.
func TestPrune(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		prune := func() {
			_, err := s.repeat(t.Context(), (*tx).prune)
			require.NoError(t, err)
		}
		exists := func(w Write) bool {
			op, err := s.Find(t.Context(), w.ID)
			require.NoError(t, err)
			return op.ID != ""
		}
		ended := func(change func(*Write), deliver bool) Write {
			w := aWrite(lifecycle.Stop)
			change(&w)
			insert(t, s, w, Lead)
			_, err := s.Reply(t.Context(), w.ID, true, End{})
			require.NoError(t, err)
			if deliver {
				require.NoError(t, s.do(t.Context(), call{}, func(t *tx) error {
					_, err := t.exec(`update operations set sent = records where id = $1`, w.ID)
					return err
				}))
			}
			return w
		}
		old := ended(func(*Write) {}, true)
		undelivered := ended(func(*Write) {}, false)
		keyed := ended(func(w *Write) { w.Key = "k" }, true)
		open := aWrite(lifecycle.Stop)
		insert(t, s, open, Lead)
		require.NoError(t, s.do(t.Context(), call{}, func(t *tx) error {
			_, err := t.exec(`update operations set ended_at = ended_at - $1 where ended_at > 0`, (config.Keep + time.Minute).Microseconds())
			return err
		}))
		young := ended(func(*Write) {}, true)
		prune()
		assert.False(t, exists(old))
		for name, w := range map[string]Write{"undelivered": undelivered, "keyed": keyed, "open": open, "young": young} {
			assert.True(t, exists(w), name)
		}
		require.NoError(t, s.do(t.Context(), call{}, func(t *tx) error {
			_, err := t.exec(`update keys set created_at = created_at - $1`, keyKept.Microseconds())
			return err
		}))
		prune()
		assert.False(t, exists(keyed))
	})
}

// A store in memory forgets the oldest, and refuses what it has no room for.
func TestMemoryIsBounded(t *testing.T) {
	config, _ := configFor(t)
	config.Records = KeepRecords
	s := running(t, config)
	fill := func(ended bool) (err error) {
		return s.do(t.Context(), call{}, func(t *tx) error {
			for range 40 {
				w := aWrite(lifecycle.Stop)
				if _, _, err := t.insert(w); err != nil {
					return err
				}
				if ended {
					if _, err := t.end(w.ID, replyYes, End{}); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	for range 300 {
		require.NoError(t, fill(true))
	}
	list, err := s.list(t.Context(), "")
	require.NoError(t, err)
	assert.LessOrEqual(t, len(list), memoryOperations+64)
	for range 350 {
		err = fill(false)
	}
	assert.ErrorIs(t, err, ErrFull)
}

// What is past its time is closed once the history has been read.
func TestCloses(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		var s *Store
		answered, silent := aWrite(lifecycle.Start), aWrite(lifecycle.Start)
		read := make(chan struct{})
		config.Timeout, config.LateReply = 0, 0
		config.History = func(ctx context.Context) error {
			<-read
			_, err := s.Reply(ctx, answered.ID, true, End{})
			return err
		}
		s = running(t, config)
		insert(t, s, answered, Lead)
		insert(t, s, silent, Lead)
		require.NoError(t, s.do(t.Context(), call{}, func(t *tx) error {
			_, err := t.exec(`update operations set closes_at = 1`)
			return err
		}))
		close(read)
		eventually(t, func() bool {
			op, err := s.Find(t.Context(), silent.ID)
			return err == nil && op.Outcome == lifecycle.Unknown
		}, "what has no reply is unknown")
		assertLife(t, s, answered.ID, lifecycle.Accepted, requested, finished)
	})
}

// A clock that was set back makes nothing wait longer than from now on.
func TestClockSetBack(t *testing.T) {
	config, _ := configFor(t)
	config.Dir = t.TempDir()
	var offset atomic.Int64
	config.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	s := running(t, config)
	w := aWrite(lifecycle.Start)
	insert(t, s, w, Lead)
	offset.Store(int64(-48 * time.Hour))
	require.Eventually(t, func() bool {
		op, err := s.Find(t.Context(), w.ID)
		return err == nil && op.ClosesAt.Before(config.Now().Add(time.Hour))
	}, 10*time.Second, 10*time.Millisecond)
}

// What the history has just told is written before what is past its time is
// closed, although both are in one transaction.
func TestRepliesBeforeClosing(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		op := insert(t, s, aWrite(lifecycle.Start), Lead)
		busy, goOn := make(chan bool), make(chan bool)
		go func() {
			_ = s.do(context.Background(), call{}, func(t *tx) error {
				_, err := t.exec(`update operations set closes_at = 1`)
				close(busy)
				<-goOn
				return err
			})
		}()
		<-busy
		s.Settle(op.ID, lifecycle.Accepted, false)
		closed := make(chan error, 1)
		go func() {
			_, err := s.Expire(context.Background(), 100)
			closed <- err
		}()
		eventually(t, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.queue) >= 2
		}, "both are queued")
		close(goOn)
		require.NoError(t, <-closed)
		assertLife(t, s, op.ID, lifecycle.Accepted, requested, finished)
	})
}
