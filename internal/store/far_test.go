package store

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// A database that takes less in the time of a transaction than waits to be written
// gets less at once, until all is written.
func TestBatchesShrink(t *testing.T) {
	t.Parallel()
	s, db := withPostgres(t,
		`create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.01); return new; end'`,
		`create trigger slow before insert on operations for each row execute function slow()`)
	const many = 400 // twice of what one transaction can take
	var group sync.WaitGroup
	for range many {
		group.Go(func() { _, _ = s.Abandon(context.Background(), uuid.NewString()) })
	}
	group.Wait()
	eventually(t, func() bool {
		var written int
		require.NoError(t, db.QueryRow(`select count(*) from operations`).Scan(&written))
		return written == many
	}, "all are written")
	eventually(t, func() bool { return tryInsert(t, s) == nil }, "it takes writes again")
}

// While the history cannot be read, what is past its time stays open; not for ever.
func TestHistoryThatCannotBeRead(t *testing.T) {
	t.Parallel()
	config, log := configFor(t)
	var offset atomic.Int64
	config.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	var reads atomic.Int32
	config.History = func(context.Context) error {
		reads.Add(1)
		return errors.New("gone")
	}
	s := running(t, config)
	w := aWrite(lifecycle.Start)
	insert(t, s, w, Lead)
	closes := permission + config.Timeout + config.LateReply
	offset.Store(int64(closes + historyGrace - time.Minute))
	eventually(t, func() bool { return reads.Load() >= 2 }, "it is tried again")
	assertLife(t, s, w.ID, "", requested)
	assert.NotContains(t, log.String(), "cannot be read")
	offset.Store(int64(closes + historyGrace + time.Minute))
	eventually(t, func() bool {
		op, err := s.Find(t.Context(), w.ID)
		return err == nil && op.Outcome == lifecycle.Unknown
	}, "it is closed")
	assert.Contains(t, log.String(), "the history of replies cannot be read")
}
