package outbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// The report lists parked records and why they are parked, oldest first.
func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(func(_ context.Context, r usage.Record) error {
			return fmt.Errorf("%w: no such account as of %s", usage.ErrRefused, r.Data.RequestID)
		})
		o := start(t, Config{Dir: t.TempDir(), Sender: s})
		report, err := o.Report()
		require.NoError(t, err)
		text, err := json.Marshal(report)
		require.NoError(t, err)
		want := `{"records":0,"parked_records":0,"oldest_record_age_seconds":0,"damaged_files":[],"parked":[]}`
		assert.Equal(t, want, string(text))
		var ids []string
		for range 2 {
			op := newOperation()
			o.pair(op, lifecycle.Accepted)
			synctest.Wait()
			ids = append(ids, usage.EventID(op.ID, usage.PhaseRequested), usage.EventID(op.ID, usage.PhaseEnded))
		}
		after(2 * settleAfter)
		report, err = o.Report()
		require.NoError(t, err)
		assert.Equal(t, 4, report.Parked)
		require.Len(t, report.ParkedRecords, 4)
		for i, p := range report.ParkedRecords {
			assert.Equal(t, ids[i], p.Record.EventID)
			assert.Regexp(t, "no such account as of "+p.Record.Data.RequestID+"$", p.Reason)
			assert.False(t, p.ParkedAt.IsZero())
		}
		o.stop()
		_, err = o.Report()
		assert.Error(t, err, "a closed outbox was read")
	})
}

func wantMetrics(t *testing.T, set *metrics.Set, want ...string) {
	t.Helper()
	var b bytes.Buffer
	set.WritePrometheus(&b)
	got := strings.ReplaceAll(strings.TrimSpace(b.String()), "bus_vm_outbox_", "")
	assert.Equal(t, strings.Join(want, "\n"), got)
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := metrics.NewSet()
		g := &gate{}
		o, disk := startFaulty(t, Config{Dir: t.TempDir(), Sender: newSink(g.answer), Metrics: set, MaxRecords: 7, LateReply: lateReply})
		wantMetrics(t, set,
			"commit_failures_total 0", "commits_total 0", "damaged_files 0", "delivered_total 0",
			"full_total 0", "healthy 1", "late_ignored_total 0", "max_records 7",
			"oldest_record_age_seconds 0", "parked_records 0", "records 0", "retries_total 0",
			"unknown_replaced_total 0", "writes_total 0")

		o.pair(newOperation(), lifecycle.Accepted) // delivered
		op := newOperation()
		o.pair(op, lifecycle.Unknown)
		require.NoError(t, o.Ended(op, lifecycle.Accepted, 0)) // replaced
		synctest.Wait()
		require.NoError(t, o.Ended(op, lifecycle.Rejected, 0)) // late
		g.set(usage.ErrRefused)
		o.pair(newOperation(), lifecycle.Accepted) // parked
		synctest.Wait()
		g.set(errDown)
		o.pair(newOperation(), lifecycle.Unknown) // retried once, then held up by the pause
		o.pair(newOperation(), lifecycle.NotSent)
		require.ErrorIs(t, o.Requested(t.Context(), newOperation()), ErrFull)
		after(defaultRetryMin / 4)
		wantMetrics(t, set,
			"commit_failures_total 0", "commits_total 11", "damaged_files 0", "delivered_total 4",
			"full_total 1", "healthy 1", "late_ignored_total 1", "max_records 7",
			"oldest_record_age_seconds 0.05", "parked_records 2", "records 6", "retries_total 1",
			"unknown_replaced_total 1", "writes_total 11")

		// A disk that refuses to delete what is delivered flips the gauge.
		disk.set(syscall.EIO, false)
		g.set(nil)
		after(probeEvery)
		var b bytes.Buffer
		set.WritePrometheus(&b)
		assert.Contains(t, b.String(), "bus_vm_outbox_healthy 0\n")
		assert.Contains(t, b.String(), "bus_vm_outbox_commit_failures_total 1\n")
		disk.set(nil, false)
	})
}

// Work in progress is no lag: an operation that runs, and an unknown outcome
// that is held, do not age.
func TestOldestAgeIsOfDeliverableRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := start(t, Config{Dir: t.TempDir(), Sender: newSink(nil), LateReply: lateReply})
		require.NoError(t, o.Requested(t.Context(), newOperation()))
		o.pair(newOperation(), lifecycle.Unknown)
		after(lateReply / 2)
		assert.Equal(t, (Stats{Records: 2}), o.Stats(), "stats")
	})
}
