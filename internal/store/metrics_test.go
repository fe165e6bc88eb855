package store

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// The metrics say what the store holds, and what was set aside.
func TestMetrics(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		shows := func(lines ...string) {
			t.Helper()
			eventually(t, func() bool {
				var b strings.Builder
				config.Metrics.WritePrometheus(&b)
				for _, line := range lines {
					if !strings.Contains(b.String(), line+"\n") {
						return false
					}
				}
				return true
			}, strings.Join(lines, ", "))
		}
		shows("bus_vm_store_healthy 1", "bus_vm_store_damaged_files 0", "bus_vm_store_commit_failures_total 0",
			"bus_vm_usage_waiting_records 0", "bus_vm_usage_parked_records 0", "bus_vm_usage_oldest_record_age_seconds 0")
		w := aWrite(lifecycle.Stop)
		op := insert(t, s, w, Lead)
		require.NoError(t, s.do(t.Context(), call{}, func(t *tx) error {
			_, err := t.exec(`update operations set due_since = due_since - 3600000000`)
			return err
		}))
		shows("bus_vm_usage_waiting_records 1", "bus_vm_usage_parked_records 0")
		eventually(t, func() bool { age := s.Stats().OldestAge; return age > 59*time.Minute && age < 61*time.Minute }, "an hour old")
		require.NoError(t, s.do(t.Context(), call{}, func(t *tx) error {
			return t.retry(op, parkedFor, "no such account")
		}))
		shows("bus_vm_usage_waiting_records 1", "bus_vm_usage_parked_records 1", "bus_vm_usage_oldest_record_age_seconds 0")
	})
}
