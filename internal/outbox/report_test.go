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
		want := `{"records":0,"parked_records":0,"oldest_record_age_seconds":0,"damaged_files":[],"parked":[]}`
		assert.Equal(t, want, reportOf(t, o.Outbox), "the report")
		var ids []string
		for range 2 {
			op := newOperation()
			o.pair(op, lifecycle.Accepted)
			synctest.Wait()
			ids = append(ids, usage.EventID(op.ID, usage.PhaseRequested), usage.EventID(op.ID, usage.PhaseEnded))
		}
		after(2 * settleAfter)
		report, err := o.Report()
		if err != nil || report.Parked != 4 || len(report.ParkedRecords) != 4 {
			t.Fatalf("report %+v, %v; want 4 parked records", report, err)
		}
		for i, p := range report.ParkedRecords {
			if p.Record.EventID != ids[i] || !strings.HasSuffix(p.Reason, "no such account as of "+p.Record.Data.RequestID) || p.ParkedAt.IsZero() {
				t.Errorf("parked %d is %+v of %+v, want the event %s", i, p, p.Record, ids[i])
			}
		}
		o.stop()
		if _, err := o.Report(); err == nil {
			t.Error("a closed outbox was read")
		}
	})
}

func reportOf(t *testing.T, o *Outbox) string {
	t.Helper()
	report, err := o.Report()
	require.NoError(t, err)
	text, err := json.Marshal(report)
	require.NoError(t, err)
	return string(text)
}

func wantMetrics(t *testing.T, set *metrics.Set, want ...string) {
	t.Helper()
	var b bytes.Buffer
	set.WritePrometheus(&b)
	got := strings.ReplaceAll(strings.TrimSpace(b.String()), "bus_vm_outbox_", "")
	if got != strings.Join(want, "\n") {
		t.Errorf("metrics\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := metrics.NewSet()
		g := &gate{}
		o, disk := startFaulty(t, Config{Dir: t.TempDir(), Sender: newSink(g.answer), Metrics: set, MaxRecords: 7, LateReply: lateReply})
		wantMetrics(t, set,
			"commit_failures_total 0",
			"commits_total 0",
			"damaged_files 0",
			"delivered_total 0",
			"full_total 0",
			"healthy 1",
			"late_ignored_total 0",
			"max_records 7",
			"oldest_record_age_seconds 0",
			"parked_records 0",
			"records 0",
			"retries_total 0",
			"unknown_replaced_total 0",
			"writes_total 0")

		o.pair(newOperation(), lifecycle.Accepted) // delivered
		op := newOperation()
		o.pair(op, lifecycle.Unknown)
		if err := o.Ended(op, lifecycle.Accepted, 0); err != nil { // replaced
			t.Fatal(err)
		}
		synctest.Wait()
		if err := o.Ended(op, lifecycle.Rejected, 0); err != nil { // late
			t.Fatal(err)
		}
		g.set(usage.ErrRefused)
		o.pair(newOperation(), lifecycle.Accepted) // parked
		synctest.Wait()
		g.set(errDown)
		o.pair(newOperation(), lifecycle.Unknown) // retried once, then held up by the pause
		o.pair(newOperation(), lifecycle.NotSent)
		require.ErrorIs(t, o.Requested(t.Context(), newOperation()), ErrFull)
		after(defaultRetryMin / 4)
		wantMetrics(t, set,
			"commit_failures_total 0",
			"commits_total 11",
			"damaged_files 0",
			"delivered_total 4",
			"full_total 1",
			"healthy 1",
			"late_ignored_total 1",
			"max_records 7",
			"oldest_record_age_seconds 0.05",
			"parked_records 2",
			"records 6",
			"retries_total 1",
			"unknown_replaced_total 1",
			"writes_total 11")

		// A disk that refuses to delete what is delivered flips the gauge.
		disk.set(syscall.EIO, false)
		g.set(nil)
		after(probeEvery)
		for _, want := range []string{"healthy 0", "commit_failures_total 1"} {
			var b bytes.Buffer
			set.WritePrometheus(&b)
			if !strings.Contains(b.String(), "bus_vm_outbox_"+want+"\n") {
				t.Errorf("no %s in\n%s", want, &b)
			}
		}
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
