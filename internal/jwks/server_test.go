package jwks

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"go.uber.org/goleak"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// publisher is a real server whose answer can be exchanged.
type publisher struct {
	*httptest.Server
	answer atomic.Pointer[http.HandlerFunc]
	asked  atomic.Int64
	served chan struct{} // one for each request, once it is answered
}

func publish(t testing.TB, start func(http.Handler) *httptest.Server, answer http.HandlerFunc) *publisher {
	p := &publisher{served: make(chan struct{}, 100)}
	p.now(answer)
	p.Server = start(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		p.asked.Add(1)
		defer func() { p.served <- struct{}{} }()
		(*p.answer.Load())(w, request)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *publisher) now(answer http.HandlerFunc) { p.answer.Store(&answer) }

// document answers with text and further headers, as `Name: value`.
func document(text string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, header := range headers {
			name, value, _ := strings.Cut(header, ": ")
			w.Header().Add(name, value)
		}
		_, _ = w.Write([]byte(text))
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// fetcher is a Source with everything around it.
type fetcher struct {
	*Source
	metrics *metrics.Set
	lines   lines
	used    chan []string // the ids of each set that came into force
}

// lines are log lines without times, debug included.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	_, text, _ := strings.Cut(string(line), " ")
	l <- strings.TrimSpace(text)
	return len(line), nil
}

func newFetcher(t testing.TB, url string) *fetcher {
	t.Helper()
	f := &fetcher{metrics: metrics.NewSet(), lines: make(lines, 100), used: make(chan []string, 100)}
	logger := slog.New(slog.NewTextHandler(f.lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	f.Source = New(url, func(set *Set) { f.used <- set.IDs() }, logger, f.metrics)
	return f
}

// during runs the Source while do runs, and waits for its end.
func (f *fetcher) during(t testing.TB, do func()) {
	t.Helper()
	defer harness.Run(t, f.Run)()
	do()
}

// waitLimit bounds waiting for what should happen at once.
const waitLimit = 10 * time.Second

// scrape returns the metrics but for the age.
func (f *fetcher) scrape() string {
	var text bytes.Buffer
	f.metrics.WritePrometheus(&text)
	return regexp.MustCompile(`bus_vm_jwks_age_seconds .*\n`).ReplaceAllString(text.String(), "")
}
