// Package admin serves operators on an address of its own: metrics, health in
// detail, usage records that stay here, profiles. Callers of the API never
// reach any of it.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/busdk/bus-api-provider-vm/internal/outbox"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// The bounds of an operator's connection. A profile may take its time, so
// there is no bound on writing.
const (
	readTimeout = 10 * time.Second
	idleTimeout = time.Minute
	headerBytes = 16 << 10
)

// Config says what is shown. Metrics is required.
type Config struct {
	Metrics *metrics.Set
	Checks  []Check
	// Records lists usage records; nil turns /debug/usage off.
	Records func() []usage.Record
	// Outbox tells of the usage outbox; nil turns /debug/outbox off.
	Outbox func() (outbox.Report, error)
	// Pprof turns /debug/pprof/ on. Profiles show the inside of the process.
	Pprof bool
	// Logger gets what net/http has to say; default none.
	Logger *slog.Logger
}

// Server is the admin listener.
type Server struct {
	http        http.Server
	connections sync.WaitGroup
}

// New returns a server; nothing is served before Run.
func New(config Config) *Server {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	registerBuild(config.Metrics)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", config.metrics)
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, map[string]bool{"ok": true}) })
	mux.HandleFunc("GET /readyz", config.ready)
	if config.Records != nil {
		mux.HandleFunc("GET /debug/usage", func(w http.ResponseWriter, _ *http.Request) {
			answer(w, http.StatusOK, map[string]any{"records": config.Records()})
		})
	}
	if config.Outbox != nil {
		mux.HandleFunc("GET /debug/outbox", config.outbox)
	}
	if config.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	s := &Server{http: http.Server{
		Handler:        mux,
		ReadTimeout:    readTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: headerBytes,
		ErrorLog:       slog.NewLogLogger(config.Logger.Handler(), slog.LevelWarn),
	}}
	s.http.ConnState = s.count
	return s
}

// Run serves on l until ctx ends, then cuts the connections and returns when
// the last of them is done. A profile that is being taken ends early.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	stop := context.AfterFunc(ctx, func() { _ = s.http.Close() })
	defer stop()
	err := s.http.Serve(l)
	_ = s.http.Close() // where serving failed by itself
	s.connections.Wait()
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin listener on %s: %w", l.Addr(), err)
	}
	return nil
}

// count follows the goroutines of connections, which http.Server.Close leaves.
func (s *Server) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.connections.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.connections.Done()
	}
}

func (c Config) outbox(w http.ResponseWriter, _ *http.Request) {
	report, err := c.Outbox()
	if err != nil {
		answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
		return
	}
	answer(w, http.StatusOK, report)
}

func answer(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document) // the operator went away
}
