package platform

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
)

// run is one life of the server, from its start to Stop or Kill.
type run struct {
	*Events
	server *http.Server
	api    http.Handler
	ctx    context.Context // ends when the handlers must give up
	cancel context.CancelFunc
	served chan struct{} // closed when Serve has returned

	mu       sync.Mutex
	closing  bool
	conns    map[net.Conn]bool
	handlers sync.WaitGroup
}

type connKey struct{}

func newRun(e *Events) *run {
	mux := http.NewServeMux()
	r := &run{Events: e, api: mux, served: make(chan struct{}), conns: map[net.Conn]bool{}}
	mux.HandleFunc("POST "+collection, r.publish)
	mux.HandleFunc("GET "+collection+"/stream", r.stream)
	if e.cfg.Wrap != nil {
		r.api = e.cfg.Wrap(mux)
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.server = &http.Server{
		Handler:           r,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       e.cfg.IdleTimeout,
		ErrorLog:          slog.NewLogLogger(e.cfg.Logger.Handler(), slog.LevelDebug),
		ConnState:         r.track,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	return r
}

func (r *run) serve(ln net.Listener) {
	defer close(r.served)
	if err := r.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		r.cfg.Logger.Error("the Events API stopped listening; start it again", "error", err)
	}
}

// ServeHTTP lets no handler in once the server is going down, so that waiting
// for them can end.
func (r *run) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	if r.closing {
		r.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	r.handlers.Add(1)
	r.mu.Unlock()
	defer r.handlers.Done()
	req.URL.Path = strings.TrimPrefix(req.URL.Path, LocalRoot)
	r.api.ServeHTTP(w, req)
}

func (r *run) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closing = true
}

// track keeps the set of open connections, which net/http does not show: kill
// needs them.
func (r *run) track(c net.Conn, state http.ConnState) {
	r.mu.Lock()
	switch state {
	case http.StateNew:
		r.conns[c] = true
	case http.StateClosed, http.StateHijacked:
		delete(r.conns, c)
	}
	r.mu.Unlock()
	if state == http.StateClosed {
		r.changed.notify()
	}
}

func (r *run) connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns)
}

// stop is an orderly end: streams see their end, requests get their answers,
// and a stalled request, which would never end, is cut.
func (r *run) stop() error {
	r.cancel() // first: Shutdown waits for the streams
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := r.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, r.server.Close())
	}
	r.close()
	return err
}

// kill leaves what SIGKILL leaves: resets in the middle of everything, and no
// last word. The handlers are told only when their connections are gone.
func (r *run) kill() error {
	r.close()
	r.mu.Lock()
	for c := range r.conns {
		// Closed by the server below, after the listener.
		if tcp, ok := tcpOf(c); ok {
			_ = tcp.SetLinger(0)
		}
	}
	r.mu.Unlock()
	err := r.server.Close()
	r.cancel()
	return err
}
