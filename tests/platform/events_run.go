package platform

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
)

// run is one life of the server, from Start to Stop or Kill.
type run struct {
	*Events
	server *http.Server
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
	r := &run{Events: e, served: make(chan struct{}), conns: map[net.Conn]bool{}}
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

// enter counts a handler in, unless the server is going down.
func (r *run) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return false
	}
	r.handlers.Add(1)
	return true
}

// close lets no handler in any more, so that waiting for them can end.
func (r *run) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closing = true
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
	r.handlers.Wait()
	<-r.served
	r.changed.notify()
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
	r.handlers.Wait()
	<-r.served
	r.changed.notify()
	return err
}
