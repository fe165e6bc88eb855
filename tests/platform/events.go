package platform

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	maxBody           = 1 << 20 // bytes of one publish
	readHeaderTimeout = 10 * time.Second
	// stopTimeout is longer than the 5 s for which net/http waits for a
	// connection that was opened and never used.
	stopTimeout = 15 * time.Second
)

// Events is a Bus Events API. Its methods are safe for concurrent use, but
// for Stop, Kill and Restart, which take turns.
type Events struct {
	cfg    Config
	broker *broker
	faults atomic.Pointer[faultsInForce]
	parser *jwt.Parser
	tls    *tls.Config // nil without TLS
	roots  []byte

	changed   signal // the publish log, the streams or the server changed
	streamSeq atomic.Uint64

	mu        sync.Mutex
	addr      string
	running   *run
	dice      dice // guarded by mu
	published []Published
	counts    map[string]int // accepted publishes, by name
	revoked   map[string]bool
}

// newEvents returns an Events API that is not listening yet.
func newEvents(cfg Config) *Events {
	e := &Events{
		cfg:    cfg,
		broker: newBroker(),
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
			jwt.WithAudience(Audience),
			jwt.WithExpirationRequired(),
		),
		addr:    cfg.Addr,
		dice:    newDice(cfg.Seed, "publish", 0),
		counts:  map[string]int{},
		revoked: map[string]bool{},
	}
	e.replace(Faults{})
	if cfg.TLS {
		e.tls, e.roots = newIdentity()
	}
	return e
}

// URL is the service root, without a trailing slash. It also answers below it
// at LocalRoot.
func (e *Events) URL() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cfg.TLS {
		return "https://" + e.addr
	}
	return "http://" + e.addr
}

// Roots is the certificate that clients of an https API must trust, as PEM text;
// nil without TLS.
func (e *Events) Roots() []byte { return e.roots }

// start listens and serves in the background until Stop or Kill.
func (e *Events) start() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	ln, err := e.listen()
	if err != nil {
		return fmt.Errorf("start the Events API: %w", err)
	}
	e.addr = ln.Addr().String()
	if e.tls != nil {
		ln = tls.NewListener(ln, e.tls)
	}
	e.running = newRun(e)
	go e.running.serve(ln)
	return nil
}

// listen binds the address. Without one it picks a loopback address of its own and
// a port below the range that outgoing connections use: an API that is down for
// a while would otherwise lose its place to another API, to a client, or to a
// client connecting to itself. e.mu is held.
func (e *Events) listen() (ln net.Listener, err error) {
	if e.addr != "" {
		return net.Listen("tcp", e.addr)
	}
	const lowest, highest, tries = 18000, 31999, 100
	for range tries {
		host := net.IPv4(127, byte(1+rand.IntN(254)), byte(rand.IntN(256)), byte(1+rand.IntN(254))).String()
		if e.tls != nil {
			host = tlsHost
		}
		if ln, err = net.Listen("tcp", fmt.Sprintf("%s:%d", host, lowest+rand.IntN(highest-lowest+1))); err == nil {
			break
		}
	}
	return ln, err
}

// Stop ends the streams, answers what is in flight and stops listening:
// clients see the end of a stream, then refused connections.
func (e *Events) Stop() error { return e.end((*run).stop) }

// Kill resets every connection at once, the way a killed process leaves them.
func (e *Events) Kill() error { return e.end((*run).kill) }

// Restart starts again at the same address after Stop or Kill; a running API
// is stopped first. keep says whether history and group positions survive.
func (e *Events) Restart(keep bool) error {
	if err := e.Stop(); err != nil {
		return err
	}
	if !keep {
		e.broker.forget()
	}
	return e.start()
}

func (e *Events) end(how func(*run) error) error {
	e.mu.Lock()
	r := e.running
	e.running = nil
	e.mu.Unlock()
	if r == nil {
		return nil
	}
	err := how(r)
	r.handlers.Wait()
	<-r.served
	e.changed.notify()
	return err
}

// SetFaults replaces the faults in force; SetFaults(Faults{}) heals.
func (e *Events) SetFaults(f Faults) {
	e.replace(f)
	if f.HalfOpen {
		for _, s := range e.broker.open() {
			if f.concerns(s.key.name, listening) {
				s.dead.Store(true)
			}
		}
	}
}

// CutStreams resets the connections of the streams of names, or of all, and
// returns how many there were.
func (e *Events) CutStreams(names ...string) int {
	cut := e.broker.open(names...)
	for _, s := range cut {
		// At once, so that what is published next waits for the group instead
		// of going down with the stream.
		e.broker.unsubscribe(s)
		reset(s.conn)
	}
	e.changed.notify()
	return len(cut)
}

// WaitOnlyStreams waits until no connection is open but those of the streams,
// which takes an IdleTimeout.
func (e *Events) WaitOnlyStreams(ctx context.Context) error {
	return e.changed.wait(ctx, func() bool {
		e.mu.Lock()
		r := e.running
		e.mu.Unlock()
		return r == nil || r.connections() <= len(e.broker.open())
	})
}

// Revoke refuses one token with 401 from now on. Its open streams go on.
func (e *Events) Revoke(token string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.revoked[token] = true
}
