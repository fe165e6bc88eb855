package snapshot

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/google/uuid"
)

// doubt is by how much others must have asked after the last write that this
// process may have missed or knows of for their answer to be shown: it covers
// the clocks of replicas that disagree.
const doubt = time.Minute

// Share offers a status that somebody else asked for, under the correlation id
// of that request. It is shown when it must have been observed after the last
// accepted write. Otherwise it may be old or news: if it differs from what is
// shown, the next reader waits for an answer of our own. Any moment before the
// Keeper was made counts as that of a write: an earlier life of this process may
// have made one.
//
// When it was asked for stands in the correlation id, where that is a UUID of
// version 7, as this gateway's own are. Of any other request the time is
// unknown, so its answer is never shown.
func (k *Keeper) Share(correlationID string, status Status) {
	document, err := status.Render()
	if err != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	askedAt, known := askedAt(correlationID)
	if askedAt.After(now) { // a clock that runs ahead must not prove anything
		askedAt = now
	}
	if !k.provablyNew(askedAt, known) {
		k.metrics.unproven.Inc()
		if s := k.current.Load(); s != nil && !bytes.Equal(s.document, document) {
			k.takeDown()
			k.lapsed = s
		}
		return
	}
	if now.Sub(askedAt) >= k.config.MaxAge {
		return
	}
	before := k.answer(true)
	if before != nil && !before.askedAt.Before(askedAt) {
		return // what is shown was asked for later
	}
	k.metrics.shared.Inc()
	k.show(status, document, askedAt)
	if before != nil && before.read.Load() {
		k.current.Load().read.Store(true) // its readers are still there
	}
	k.announce()
	k.signal()
}

// CorrelationID names a status request made now, as Share reads it: a UUID of
// version 7 (RFC 9562 §5.7). Unlike uuid.NewV7 it never runs ahead of a clock
// that was set back.
func CorrelationID() string {
	id := uuid.New()
	var millis [8]byte
	binary.BigEndian.PutUint64(millis[:], uint64(time.Now().UnixMilli()))
	copy(id[:6], millis[2:])
	id[6] = 7<<4 | id[6]&0x0f
	return id.String()
}

// provablyNew holds mu.
func (k *Keeper) provablyNew(askedAt time.Time, known bool) bool {
	return known && askedAt.Sub(k.lastWrite) > doubt
}

// askedAt reads the time out of a UUID version 7 (RFC 9562 §5.7).
func askedAt(correlationID string) (time.Time, bool) {
	id, err := uuid.Parse(correlationID)
	if err != nil || id.Version() != 7 {
		return time.Time{}, false
	}
	return time.Unix(id.Time().UnixTime()), true
}
