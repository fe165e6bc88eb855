package platform

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	defaultHistory    = 1 << 14
	publishLogLimit   = 1 << 17
	maxBody           = 1 << 20 // bytes of one publish
	readHeaderTimeout = 10 * time.Second
	// stopTimeout is longer than the 5 s for which net/http waits for a
	// connection that was opened and never used.
	stopTimeout = 15 * time.Second
)

// EventsConfig is what an Events API needs.
type EventsConfig struct {
	// Addr is the TCP address to listen on; empty means a free loopback port,
	// which stays the same over restarts.
	Addr string
	// Secret verifies HS256 tokens, as raw text; empty means DevSecret.
	Secret string
	// Seed is where the faults' dice start.
	Seed uint64
	// History is how many events of each name are kept for replay; zero means
	// 16384.
	History int
	// TLS serves https under a certificate of its own; Roots returns it.
	TLS bool
	// IdleTimeout is how long a connection without a request stays open; zero
	// means for ever. A TLS connection is closed with close_notify.
	IdleTimeout time.Duration
	// Logger gets a line per publish (debug when accepted, info when refused)
	// and per stream opened or closed; nil means silence.
	Logger *slog.Logger
}

// Events is a Bus Events API. Its methods are safe for concurrent use, but
// for Start, Stop, Kill and Restart, which take turns.
type Events struct {
	cfg    EventsConfig
	broker *broker
	faults *faultSwitch
	parser *jwt.Parser

	changed   signal // the publish log, the streams or the server changed
	streamSeq atomic.Uint64

	mu        sync.Mutex
	addr      string
	identity  *identity // nil without TLS, and before the first Start
	running   *run
	dice      dice // guarded by mu
	published bounded[Published]
	counts    map[publishKey]int
	revoked   map[string]bool
}

type publishKey struct {
	name     string
	accepted bool
}

// NewEvents returns an Events API that is not listening yet.
func NewEvents(cfg EventsConfig) *Events {
	if cfg.Secret == "" {
		cfg.Secret = DevSecret
	}
	if cfg.History == 0 {
		cfg.History = defaultHistory
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Events{
		cfg:    cfg,
		broker: newBroker(cfg.History),
		faults: newFaultSwitch(),
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
			jwt.WithAudience(Audience),
			jwt.WithExpirationRequired(),
		),
		addr:      cfg.Addr,
		dice:      newDice(cfg.Seed, "publish", 0),
		published: bounded[Published]{limit: publishLogLimit},
		counts:    map[publishKey]int{},
		revoked:   map[string]bool{},
	}
}

// URL is the service root, without a trailing slash. It is known once Start
// has returned, and also answers below it at LocalRoot.
func (e *Events) URL() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cfg.TLS {
		return "https://" + e.addr
	}
	return "http://" + e.addr
}

// Roots is the certificate that clients of an https API must trust, as PEM text;
// nil without TLS. It is known once Start has returned and stays the same over
// restarts.
func (e *Events) Roots() []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.identity == nil {
		return nil
	}
	return e.identity.pem
}

// Start listens and serves in the background until Stop or Kill.
func (e *Events) Start() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running != nil {
		return errors.New("the Events API is already running")
	}
	ln, err := listen(e.addr)
	if err != nil {
		return fmt.Errorf("start the Events API: %w", err)
	}
	e.addr = ln.Addr().String()
	if e.cfg.TLS && e.identity == nil {
		if e.identity, err = newIdentity(ln.Addr()); err != nil {
			return errors.Join(fmt.Errorf("start the Events API: %w", err), ln.Close())
		}
	}
	if e.identity != nil {
		ln = tls.NewListener(ln, e.identity.config)
	}
	e.running = newRun(e)
	go e.running.serve(ln)
	return nil
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
	return e.Start()
}

func (e *Events) end(how func(*run) error) error {
	e.mu.Lock()
	r := e.running
	e.running = nil
	e.mu.Unlock()
	if r == nil {
		return nil
	}
	return how(r)
}

// SetFaults replaces the faults in force; SetFaults(Faults{}) heals.
func (e *Events) SetFaults(f Faults) {
	e.faults.set(f)
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

// listen binds addr. For an empty one it picks a loopback address of its own and
// a port below the range that outgoing connections use: an API that is down for
// a while would otherwise lose its place to another API, to a client, or to a
// client connecting to itself.
func listen(addr string) (net.Listener, error) {
	if addr != "" {
		return net.Listen("tcp", addr)
	}
	const lowest, highest, tries = 18000, 31999, 100
	var last error
	for range tries {
		host := net.IPv4(127, byte(1+rand.IntN(254)), byte(rand.IntN(256)), byte(1+rand.IntN(254)))
		ln, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, lowest+rand.IntN(highest-lowest+1)))
		if err == nil {
			return ln, nil
		}
		last = err
	}
	return nil, last
}
