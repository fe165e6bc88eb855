package outbox

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"go.etcd.io/bbolt"
)

// Report is what an operator may want to know of an outbox, as JSON.
type Report struct {
	// Records and Parked are those of Stats.
	Records          int     `json:"records"`
	Parked           int     `json:"parked_records"`
	OldestAgeSeconds float64 `json:"oldest_record_age_seconds"`
	// DamagedFiles are the files that were set aside and are still there.
	DamagedFiles []string `json:"damaged_files"`
	// ParkedRecords are the oldest parked rows on disk, at most reportRows.
	// After a restart they include those that are being offered again.
	ParkedRecords []ParkedRecord `json:"parked"`
}

// Report reads the parked rows from disk.
func (o *Outbox) Report() (Report, error) {
	stats := o.Stats()
	report := Report{
		Records:          stats.Records,
		Parked:           stats.Parked,
		OldestAgeSeconds: stats.OldestAge.Seconds(),
		DamagedFiles:     o.damagedFiles(),
		ParkedRecords:    []ParkedRecord{},
	}
	err := guard(func() error {
		return o.store.db.View(func(tx *bbolt.Tx) error {
			c := tx.Bucket([]byte(parkedBucket)).Cursor()
			for k, value := c.First(); k != nil && len(report.ParkedRecords) < reportRows; k, value = c.Next() {
				var parked ParkedRecord
				if err := json.Unmarshal(value, &parked); err != nil {
					parked.Reason = "the parked row cannot be read"
				}
				parked.Row, parked.Raw = binary.BigEndian.Uint64(k), nil
				report.ParkedRecords = append(report.ParkedRecords, parked)
			}
			return nil
		})
	})
	if err != nil {
		return report, fmt.Errorf("read the parked records: %w", err)
	}
	return report, nil
}

// damagedFiles looks each time, so that taking the files away is enough to end
// the alarm. A directory that cannot be read is the disk's alarm.
func (o *Outbox) damagedFiles() []string {
	found := []string{}
	entries, _ := os.ReadDir(o.config.Dir)
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), fileName+damagedInfix) {
			found = append(found, filepath.Join(o.config.Dir, entry.Name()))
		}
	}
	return found
}

// Healthy returns nil while the outbox takes writes, else why not: it is
// closed, the disk refused the last write, or has been busy with one for long.
// A full outbox is healthy: the usage integration is what is not.
func (o *Outbox) Healthy() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.usable(); err != nil {
		return err
	}
	if !o.committing.IsZero() && time.Since(o.committing) > stallAfter {
		return fmt.Errorf("%w: the disk has been busy with one write for %s",
			ErrCannotWrite, time.Since(o.committing).Round(time.Second))
	}
	return nil
}

// usable returns why nothing can be written, as far as that is known. The caller
// holds mu.
func (o *Outbox) usable() error {
	switch {
	case o.closed:
		return ErrClosed
	case o.cause != nil:
		return o.cannotWrite()
	}
	return nil
}

// Stats is a snapshot of what the outbox holds.
type Stats struct {
	// Records counts places of MaxRecords: undelivered records, the room of
	// terminal records to come, and Parked.
	Records int
	// Parked counts records that the usage integration refused.
	Parked int
	// OldestAge is how long the oldest record has waited that could be
	// delivered now or is being retried.
	OldestAge time.Duration
}

// Stats returns the current figures.
func (o *Outbox) Stats() Stats {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	s := Stats{Records: o.room, Parked: o.parked}
	for e := o.operations.Front(); e != nil; e = e.Next() {
		op := e.Value.(*operation)
		_, at, since := op.head()
		held := op.requested == settled && now.Before(op.heldUntil)
		if *at == sending || op.deliverable() && !held {
			s.OldestAge = now.Sub(since)
			break
		}
	}
	return s
}

type counters struct {
	commits, failures, writes, full    *metrics.Counter
	delivered, retries, replaced, late *metrics.Counter
}

// register makes the metrics of o. Each commit is two syncs of the file.
func (o *Outbox) register(set *metrics.Set) counters {
	gauge := func(name string, value func(Stats) float64) {
		set.NewGauge("bus_vm_outbox_"+name, func() float64 { return value(o.Stats()) })
	}
	gauge("records", func(s Stats) float64 { return float64(s.Records) })
	gauge("parked_records", func(s Stats) float64 { return float64(s.Parked) })
	gauge("oldest_record_age_seconds", func(s Stats) float64 { return s.OldestAge.Seconds() })
	set.NewGauge("bus_vm_outbox_damaged_files", func() float64 { return float64(len(o.damagedFiles())) })
	set.NewGauge("bus_vm_outbox_max_records", func() float64 { return float64(o.config.MaxRecords) })
	set.NewGauge("bus_vm_outbox_healthy", func() float64 {
		if o.Healthy() != nil {
			return 0
		}
		return 1
	})
	counter := func(name string) *metrics.Counter { return set.NewCounter("bus_vm_outbox_" + name + "_total") }
	return counters{
		commits:   counter("commits"),
		failures:  counter("commit_failures"),
		writes:    counter("writes"),
		full:      counter("full"),
		delivered: counter("delivered"),
		retries:   counter("retries"),
		replaced:  counter("unknown_replaced"),
		late:      counter("late_ignored"),
	}
}
