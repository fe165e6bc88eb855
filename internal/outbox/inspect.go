package outbox

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// errNewer: a newer release wrote the file.
var errNewer = errors.New("a newer release wrote this file")

// contents is what was found in a file.
type contents struct {
	// rows by key: records that wait, and parked ones.
	rows map[uint64]row
	// unreadable are keys of records whose value makes no sense.
	unreadable []uint64
	// stuck counts parked rows that hold no readable record.
	stuck int
	// next is the first unused operation number.
	next uint64
}

// inspect reads the whole file without writing to it, before anything else
// touches it: bbolt walks a file that it opens for writing in a goroutine of
// its own, where damage would end the process instead of being an error.
func inspect(path string) (found contents, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return found, err
	}
	if info.Size() == 0 {
		return found, fmt.Errorf("%w: it is empty", errDamaged)
	}
	err = readFile(path, func(db *bbolt.DB) error {
		return db.View(func(tx *bbolt.Tx) error {
			found, err = readAll(tx)
			return err
		})
	})
	return found, err
}

// readFile calls f with the file open for reading; see sorted for its error.
func readFile(path string, f func(*bbolt.DB) error) error {
	return sorted(func() error {
		read := options()
		read.ReadOnly = true
		// bbolt forgets to close the file when it panics.
		var file *os.File
		read.OpenFile = func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		}
		defer func() { _ = file.Close() }()
		db, err := bbolt.Open(path, 0o600, read)
		if err != nil {
			return err
		}
		return errors.Join(f(db), db.Close())
	})
}

func readAll(tx *bbolt.Tx) (contents, error) {
	found := contents{rows: map[uint64]row{}}
	meta, records, parked := tx.Bucket([]byte(metaBucket)), tx.Bucket([]byte(recordsBucket)), tx.Bucket([]byte(parkedBucket))
	if meta == nil || records == nil || parked == nil {
		return found, fmt.Errorf("%w: buckets are missing", errDamaged)
	}
	if err := errors.Join(readSchema(meta), walk(meta, maxRow, func(_, _ []byte) error { return nil })); err != nil {
		return found, err
	}
	err := readRows(records, maxRow, &found, func(k uint64, value []byte) {
		var r row
		if json.Unmarshal(value, &r) != nil || r.Record.EventID == "" {
			found.unreadable = append(found.unreadable, k)
			return
		}
		found.rows[k] = r
	})
	if err != nil {
		return found, err
	}
	return found, readRows(parked, maxParkedRow, &found, func(k uint64, value []byte) {
		var p ParkedRecord
		if json.Unmarshal(value, &p) != nil || p.Record == nil {
			found.stuck++
			return
		}
		found.rows[k] = row{Record: *p.Record}
	})
}

func readSchema(meta *bbolt.Bucket) error {
	var version int
	if err := json.Unmarshal(meta.Get([]byte(schemaKey)), &version); err != nil {
		return fmt.Errorf("%w: no schema version", errDamaged)
	}
	if version > schema {
		return fmt.Errorf("%w: its schema is %d, this release knows up to %d. Run the newer release again "+
			"until everything is delivered, or move the file away: its records are not delivered then",
			errNewer, version, schema)
	}
	return nil
}

func readRows(b *bbolt.Bucket, limit int, found *contents, each func(k uint64, value []byte)) error {
	return walk(b, limit, func(k, value []byte) error {
		if len(k) != 8 {
			return fmt.Errorf("%w: a key has no 8 bytes", errDamaged)
		}
		// Numbers of what was delivered come again; those in the file must not.
		number := binary.BigEndian.Uint64(k)
		found.next = max(found.next, number/2+1)
		each(number, value)
		return nil
	})
}

// walk visits every row in order and reads each byte of it, so that a length
// or an address that leads out of the file is found here and nowhere later.
func walk(b *bbolt.Bucket, limit int, each func(k, value []byte) error) error {
	var last []byte
	c := b.Cursor()
	for k, value := c.First(); k != nil; k, value = c.Next() {
		if len(k) > maxKey || len(value) > limit || value == nil {
			return fmt.Errorf("%w: a row has an impossible length", errDamaged)
		}
		k, value = bytes.Clone(k), bytes.Clone(value)
		if last != nil && bytes.Compare(last, k) >= 0 || !bytes.Equal(b.Get(k), value) {
			return fmt.Errorf("%w: keys are out of order", errDamaged)
		}
		last = k
		if err := each(k, value); err != nil {
			return err
		}
	}
	return nil
}

// load fills the index with what a previous process left: records to deliver,
// parked ones to offer once more, and open operations to close.
func (o *Outbox) load(found contents) {
	// Stamps on disk are wall time of another process; ages and delays run on
	// the monotonic clock of this one.
	wall, now := o.config.Now(), time.Now()
	var op *operation
	for _, k := range slices.Sorted(maps.Keys(found.rows)) {
		if op == nil || op.number != k/2 {
			op = &operation{number: k / 2, requested: settled, terminal: settled}
			op.element = o.operations.PushBack(op)
		}
		r := found.rows[k]
		since := now.Add(-max(0, wall.Sub(r.Record.OccurredAt)))
		o.room++
		switch {
		case k == requestedKey(op.number):
			op.requested, op.requestedSince = waiting, since
		case r.Open:
			op.terminal = absent
			o.queueEnd(&ending{op: op, record: closed(r.Record, wall)})
		default:
			op.terminal, op.terminalSince = waiting, since
			// Replies to the previous process do not reach this one, and the
			// integration may have seen the record: it is final.
			op.outcome, op.handed = r.Record.Data.Outcome, true
		}
	}
	for _, k := range found.unreadable {
		o.log.Error("a usage record on disk cannot be read and is parked as it is", "dir", o.config.Dir, "row", k,
			"do", "keep a copy of the outbox file and report it: this record is not billed")
		o.settleAs(settlement{key: k, reason: "the row cannot be read"}, now)
	}
	o.parked = found.stuck + len(found.unreadable)
	o.room += o.parked
	o.next = found.next
	for e := o.operations.Front(); e != nil; e = e.Next() {
		o.plan(e.Value.(*operation), now)
	}
	if n := len(found.rows); n > 0 {
		o.log.Info("usage records of the previous run are delivered now",
			"records", n, "closed_with_unknown_outcome", len(o.queue.endings))
	}
}

// closed is the terminal record of an operation whose process died: the reserved
// one, ended now.
func closed(reserved usage.Record, now time.Time) usage.Record {
	took := max(0, now.Sub(reserved.OccurredAt)).Milliseconds()
	reserved.OccurredAt = usage.At(now)
	reserved.Data.Outcome = lifecycle.Unknown
	reserved.Data.DurationMS = &took
	return reserved
}
