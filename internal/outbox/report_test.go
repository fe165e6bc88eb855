package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

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
