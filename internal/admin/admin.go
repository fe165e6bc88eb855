// Package admin serves operators on an address of its own: metrics, health in
// detail, the usage records of memory mode, profiles. Callers of the API never
// reach any of it.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// The bounds of an operator's connection. A profile may take its time, so
// there is no bound on writing.
const (
	readTimeout = 10 * time.Second
	idleTimeout = time.Minute
	headerBytes = 16 << 10
)

// Check is one condition of readiness.
type Check struct {
	Name  string
	Ready func() error // nil when met, else why not
}

// Config says what is shown.
type Config struct {
	Metrics *metrics.Set
	Checks  []Check
	// Records lists usage records; nil turns /debug/usage off.
	Records func() []usage.Record
	// Pprof turns /debug/pprof/ on. Profiles show the inside of the process.
	Pprof bool
}

// Server is the admin listener.
type Server struct{ http http.Server }

// New returns a server; nothing is served before Run.
func New(config Config) *Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		config.Metrics.WritePrometheus(w)
		metrics.WriteProcessMetrics(w)
	})
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, map[string]bool{"ok": true}) })
	mux.HandleFunc("GET /readyz", config.ready)
	if config.Records != nil {
		mux.HandleFunc("GET /debug/usage", func(w http.ResponseWriter, _ *http.Request) {
			answer(w, http.StatusOK, map[string]any{"records": config.Records()})
		})
	}
	if config.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return &Server{http.Server{
		Handler:        mux,
		ReadTimeout:    readTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: headerBytes,
	}}
}

// Run serves on l until ctx ends.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = s.http.Close() })
	defer stop()
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin listener on %s: %w", l.Addr(), err)
	}
	return nil
}

// ready answers like the public /readyz; with ?verbose each check has a line.
func (c Config) ready(w http.ResponseWriter, r *http.Request) {
	status := http.StatusOK
	lines := ""
	for _, check := range c.Checks {
		if err := check.Ready(); err != nil {
			status = http.StatusServiceUnavailable
			lines += fmt.Sprintf("[-] %s: %v\n", check.Name, err)
		} else {
			lines += fmt.Sprintf("[+] %s ok\n", check.Name)
		}
	}
	if r.URL.Query().Has("verbose") {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, lines)
		return
	}
	answer(w, status, map[string]bool{"ok": status == http.StatusOK})
}

func answer(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document) // the operator went away
}
