package outbox

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"

	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// errDamaged marks a file whose content makes no sense.
var errDamaged = errors.New("the outbox file is damaged")

// schema is the version of the layout below. A release reads its own and older
// ones.
const schema = 1

// Buckets, and keys of the meta bucket.
const (
	metaBucket    = "meta"
	recordsBucket = "records" // 8-byte big-endian key → row
	parkedBucket  = "parked"  // the same keys → ParkedRecord
	schemaKey     = "schema"
	probeKey      = "probe"
)

// row is a record that waits.
type row struct {
	// Open marks the reserved terminal row of an operation that has not ended.
	Open   bool         `json:"open,omitempty"`
	Record usage.Record `json:"record"`
}

// ParkedRecord is a row that will not be delivered as things are, on disk and in
// a Report.
type ParkedRecord struct {
	Row      uint64    `json:"row"`
	Reason   string    `json:"reason"`
	ParkedAt time.Time `json:"parked_at"`
	// Record is nil where the row cannot be read. Raw is the row as it was found
	// then, on disk alone.
	Record *usage.Record `json:"record"`
	Raw    []byte        `json:"raw,omitempty"`
}

// store is the file. Only the writer calls commit; read may be called at any time.
type store struct {
	db *bbolt.DB
	// update is db.Update, or a fault in tests.
	update func(func(*bbolt.Tx) error) error
}

func (s *store) close() error { return s.db.Close() }

// commit writes b in one transaction and returns when it is synced. Every part
// of it may be written twice. An error other than errDamaged says nothing
// about whether the transaction is on disk.
func (s *store) commit(b *batch, now time.Time) error {
	return guard(func() error {
		return s.update(func(tx *bbolt.Tx) error { return apply(tx, b, now) })
	})
}

func apply(tx *bbolt.Tx, b *batch, now time.Time) error {
	meta, records := tx.Bucket([]byte(metaBucket)), tx.Bucket([]byte(recordsBucket))
	var errs []error
	for _, number := range b.orphans {
		errs = append(errs, records.Delete(key(requestedKey(number))), records.Delete(key(terminalKey(number))))
	}
	for _, s := range b.settled {
		errs = append(errs, s.apply(tx, now))
	}
	for _, r := range b.requests {
		errs = append(errs,
			records.Put(key(requestedKey(r.op.number)), r.requested),
			records.Put(key(terminalKey(r.op.number)), r.reserved))
	}
	for _, e := range b.endings {
		value, err := json.Marshal(row{Record: e.record})
		errs = append(errs, err, records.Put(key(terminalKey(e.op.number)), value))
	}
	if b.probe {
		errs = append(errs, meta.Put([]byte(probeKey), make([]byte, probeBytes)))
	}
	return errors.Join(errs...)
}

// apply deletes an acknowledged record, or moves it to the parked ones.
func (s settlement) apply(tx *bbolt.Tx, now time.Time) error {
	records, parked := tx.Bucket([]byte(recordsBucket)), tx.Bucket([]byte(parkedBucket))
	if s.reason == "" {
		return errors.Join(records.Delete(key(s.key)), parked.Delete(key(s.key)))
	}
	have := records.Get(key(s.key))
	if have == nil { // parked by a previous process, and refused again
		return nil
	}
	p := ParkedRecord{Row: s.key, Reason: s.reason, ParkedAt: now.UTC()}
	var r row
	if json.Unmarshal(have, &r) == nil {
		p.Record = &r.Record
	} else {
		p.Raw = append(p.Raw, have...)
	}
	value, err := json.Marshal(p)
	return errors.Join(err, parked.Put(key(s.key), value), records.Delete(key(s.key)))
}

// read returns one record.
func (s *store) read(k uint64) (r usage.Record, err error) {
	err = guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			if value := tx.Bucket([]byte(recordsBucket)).Get(key(k)); value != nil {
				var have row
				err := json.Unmarshal(value, &have)
				r = have.Record
				return err
			}
			var have ParkedRecord
			err := json.Unmarshal(tx.Bucket([]byte(parkedBucket)).Get(key(k)), &have)
			if err == nil && have.Record != nil {
				r = *have.Record
			}
			return err
		})
	})
	if err != nil {
		return r, fmt.Errorf("%w: read row %d: %w", errDamaged, k, err)
	}
	return r, nil
}

func key(k uint64) []byte { return binary.BigEndian.AppendUint64(nil, k) }

// guard turns a panic of bbolt, and a fault in the mapped file, into errDamaged.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%w: %v", errDamaged, cause)
		}
	}()
	return f()
}
