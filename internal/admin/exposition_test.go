package admin

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
)

func TestDescribe(t *testing.T) {
	for name, c := range map[string]struct{ samples, want string }{
		"nothing": {"", ""},
		"a gauge": {
			"bus_vm_reload_success 1\n",
			"# HELP bus_vm_reload_success Whether everything that is followed while running was right when it was last read.\n" +
				"# TYPE bus_vm_reload_success gauge\nbus_vm_reload_success 1\n",
		},
		"a counter with labels, once described": {
			"bus_vm_refusals_total{reason=\"a\"} 1\nbus_vm_refusals_total{reason=\"b\"} 2\n",
			"# HELP bus_vm_refusals_total Requests answered with an error, by reason.\n# TYPE bus_vm_refusals_total counter\n" +
				"bus_vm_refusals_total{reason=\"a\"} 1\nbus_vm_refusals_total{reason=\"b\"} 2\n",
		},
		"a histogram": {
			"bus_vm_http_request_duration_seconds_bucket{route=\"x\",le=\"1\"} 1\n" +
				"bus_vm_http_request_duration_seconds_sum{route=\"x\"} 1\nbus_vm_http_request_duration_seconds_count{route=\"x\"} 1\n",
			"# HELP bus_vm_http_request_duration_seconds Time from the last byte of a request to its answer, by route.\n" +
				"# TYPE bus_vm_http_request_duration_seconds histogram\n" +
				"bus_vm_http_request_duration_seconds_bucket{route=\"x\",le=\"1\"} 1\n" +
				"bus_vm_http_request_duration_seconds_sum{route=\"x\"} 1\nbus_vm_http_request_duration_seconds_count{route=\"x\"} 1\n",
		},
		"one of its own that nobody described": {"bus_vm_new 1\n", "bus_vm_new 1\n"},
		"a suffix of what is no histogram":     {"bus_vm_reload_success_count 1\n", "bus_vm_reload_success_count 1\n"},
		"of the runtime what is listed": {
			"go_gc_forced_count 1\ngo_goroutines 2\nprocess_pressure_x 3\n",
			"# HELP go_goroutines Goroutines that exist.\n# TYPE go_goroutines gauge\ngo_goroutines 2\n",
		},
	} {
		var b bytes.Buffer
		describe(&b, c.samples)
		assert.Equal(t, c.want, b.String(), name)
	}
}

// The list keeps to what promtool asks of names and words.
func TestFamilies(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Families() {
		assert.Regexp(t, regexp.MustCompile(`^(bus_vm|process|go)_[a-z_]+$`), f.Name)
		assert.Regexp(t, regexp.MustCompile(`^[A-Z].*[^.]\.$`), f.Help, f.Name)
		assert.Equal(t, f.Kind == counter, strings.HasSuffix(f.Name, "_total"), f.Name)
		assert.Contains(t, []string{counter, gauge, histogram}, f.Kind, f.Name)
		assert.False(t, seen[f.Name], f.Name)
		seen[f.Name] = true
	}
}

// A scrape is whole: own metrics, the build, and those of the process.
func TestScrape(t *testing.T) {
	set := metrics.NewSet()
	set.NewCounter(`bus_vm_refusals_total{reason="x"}`).Inc()
	w := httptest.NewRecorder()
	New(Config{Metrics: set}).http.Handler.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	assert.Equal(t, "text/plain; version=0.0.4; charset=utf-8", w.Header().Get("Content-Type"))
	text := w.Body.String()
	for _, line := range []string{
		"# TYPE bus_vm_refusals_total counter\nbus_vm_refusals_total{reason=\"x\"} 1\n",
		fmt.Sprintf("goversion=%q} 1\n", runtime.Version()),
		"# TYPE go_goroutines gauge\ngo_goroutines ",
		"# TYPE process_open_fds gauge\nprocess_open_fds ",
		"# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds ",
	} {
		assert.Contains(t, text, line)
	}
	for line := range strings.Lines(text) {
		if name := sampleName(line); !strings.HasPrefix(line, "#") {
			_, known := familyOf(byName(), name)
			assert.True(t, known, line)
		}
	}
}
