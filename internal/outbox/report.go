package outbox

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/busdk/bus-api-provider-vm/internal/usage"
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

// ParkedRecord is a row that will not be delivered as things are.
type ParkedRecord struct {
	Row      uint64    `json:"row"`
	Reason   string    `json:"reason"`
	ParkedAt time.Time `json:"parked_at"`
	// Record is nil where the row cannot be read.
	Record *usage.Record `json:"record"`
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
				var row parkedRow
				if err := json.Unmarshal(value, &row); err != nil {
					row.Reason = "the parked row cannot be read"
				}
				report.ParkedRecords = append(report.ParkedRecords,
					ParkedRecord{binary.BigEndian.Uint64(k), row.Reason, row.ParkedAt, row.Record})
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
