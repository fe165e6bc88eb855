// Package admin serves operators on an address of its own: a page for browsers,
// metrics, health in detail, usage records that stay here, profiles, and the API.
// Callers of the API never reach any of it by the API's own listener.
package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	_ "net/http/pprof" // registers /debug/pprof/ on http.DefaultServeMux
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/busdk/bus-api-provider-vm/internal/feed"
	"github.com/busdk/bus-api-provider-vm/internal/version"
)

// MaxConnections is how many may be open; what comes on top is closed.
const MaxConnections = 64

// Config says what is shown.
type Config struct {
	Metrics   *metrics.Set
	Checks    []Check
	Endpoints map[string]Endpoint // by method and path, such as `GET /debug/store`
	Feed      *feed.Feed          // of the events of all accounts
	Pprof     bool                // turns /debug/pprof/ on, which shows the inside of the process
	API       net.Addr            // where the API listens, so that the page has it on its own origin
	Logger    *slog.Logger        // gets what net/http has to say
}

// Check is one condition of readiness, or a state that is shown beside them.
type Check struct {
	Name  string
	Ready func() error // nil when met, else why not
	Shown bool         // and no more: no condition of readiness
}

// Endpoint shows or changes something, and returns what is answered as JSON, nil
// for what is not there; arg is the parameter of that name. Of the pages that a
// browser shows, only that of this listener may POST.
type Endpoint func(ctx context.Context, arg string) (any, error)

// Serve serves on l until ctx ends, then cuts the connections and returns when
// the last of them is done. A profile that is being taken ends early.
func Serve(ctx context.Context, l net.Listener, config Config) error {
	var connections sync.WaitGroup // http.Server.Close leaves their goroutines
	var open atomic.Int64
	server := http.Server{
		Handler:        config.handler(),
		ReadTimeout:    10 * time.Second, // there is none for writing: a profile may take its time
		IdleTimeout:    time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(config.Logger.Handler(), slog.LevelWarn),
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ConnState: func(c net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				connections.Add(1)
				if open.Add(1) > MaxConnections {
					_ = c.Close()
				}
			case http.StateClosed, http.StateHijacked:
				open.Add(-1)
				connections.Done()
			}
		},
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	err := server.Serve(l)
	_ = server.Close() // where serving failed by itself
	connections.Wait()
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin listener on %s: %w", l.Addr(), err)
	}
	return nil
}

func (c Config) handler() http.Handler {
	build := fmt.Sprintf("bus_vm_build_info{version=%q,goversion=%q}", version.String(), runtime.Version())
	c.Metrics.NewGauge(build, func() float64 { return 1 })
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", c.metrics)
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answerOK(w, http.StatusOK) })
	mux.HandleFunc("GET /readyz", c.ready)
	for pattern, endpoint := range c.Endpoints {
		mux.Handle(pattern, endpoint)
	}
	mux.HandleFunc("GET /debug/events", c.events)
	if c.Pprof {
		mux.Handle("/debug/pprof/", http.DefaultServeMux)
	}
	mux.Handle("/api/v1/vm/", c.api())
	for _, path := range []string{"/{$}", "/page.js", "/page.css", "/page.svg"} {
		mux.HandleFunc("GET "+path, page)
	}
	return guard(mux)
}

// ready answers like the public /readyz; with ?verbose each check has a line.
func (c Config) ready(w http.ResponseWriter, r *http.Request) {
	status, lines := http.StatusOK, ""
	for _, check := range c.Checks {
		if err := check.Ready(); err != nil {
			if !check.Shown {
				status = http.StatusServiceUnavailable
			}
			lines += fmt.Sprintf("[-] %s: %v\n", check.Name, err)
		} else {
			lines += fmt.Sprintf("[+] %s ok\n", check.Name)
		}
	}
	if !r.URL.Query().Has("verbose") {
		answerOK(w, status)
		return
	}
	begin(w, "text/plain; charset=utf-8", status)
	_, _ = io.WriteString(w, lines)
}

// events streams the status and the operations of all accounts, as the API streams
// those of a caller.
func (c Config) events(w http.ResponseWriter, r *http.Request) {
	stream, err := c.Feed.Subscribe(r.Context(), feed.Reader{All: true}, r.Header.Get("Last-Event-ID"))
	if err != nil {
		answer(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		return
	}
	defer stream.Close()
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // that of the request would end it
	w.Header().Set("Connection", "close")    // with its deadlines
	begin(w, "text/event-stream", http.StatusOK)
	for buffer := make([]byte, 4<<10); err == nil; {
		var n int
		if n, err = stream.Read(buffer); err == nil {
			_ = control.SetWriteDeadline(time.Now().Add(feed.WriteTimeout)) // else writing fails
			_, err = w.Write(buffer[:n])
			err = errors.Join(err, control.Flush())
		}
	}
	_ = control.SetWriteDeadline(time.Now().Add(feed.WriteTimeout)) // for the end
}

func (e Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch result, err := e(r.Context(), r.URL.Query().Get("arg")); {
	case err != nil:
		answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
	case result == nil:
		answer(w, http.StatusNotFound, map[string]string{"error": "there is no such thing"})
	default:
		answer(w, http.StatusOK, result)
	}
}

func answerOK(w http.ResponseWriter, status int) {
	answer(w, status, map[string]bool{"ok": status == http.StatusOK})
}

func answer(w http.ResponseWriter, status int, document any) {
	begin(w, "application/json", status)
	_ = json.NewEncoder(w).Encode(document) // the operator went away
}

func begin(w http.ResponseWriter, contentType string, status int) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
}

// metrics shows samples with HELP and TYPE in front of each family, which the
// library leaves out: it knows types for all sets of a process or for none, and
// no words at all. Samples of one family stand together in what it writes. Of
// the process and the Go runtime only what families lists is shown.
func (c Config) metrics(w http.ResponseWriter, _ *http.Request) {
	var samples, described bytes.Buffer
	c.Metrics.WritePrometheus(&samples)
	metrics.WriteProcessMetrics(&samples)
	metrics.WriteFDMetrics(&samples)
	known := make(map[string]family)
	for _, f := range families {
		known[f.name] = f
	}
	last := ""
	for line := range strings.Lines(samples.String()) {
		name := line[:strings.IndexAny(line, "{ ")]
		f, ok := known[name]
		if !ok { // perhaps a sample of a histogram: _bucket, _sum or _count
			f = known[name[:max(0, strings.LastIndexByte(name, '_'))]]
			ok = f.kind == histogram
		}
		switch {
		case !ok && !strings.HasPrefix(name, "bus_vm_"):
			continue
		case ok && f.name != last:
			fmt.Fprintf(&described, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
			last = f.name
		}
		described.WriteString(line)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(described.Bytes()) // the operator went away
}
