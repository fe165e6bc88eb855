// Package events is a client of the Bus Events API: it publishes requests and
// finds the replies to them on one long-lived NDJSON stream a reply name.
//
// A request is pending under its correlation id before it is published, so a
// reply may overtake the answer to the publish. It ends in one of three ways:
// answered, refused, or given up. Its reply is decoded once, by the request
// itself. No lifecycle request whose outcome is unknown is sent again.
//
// A lost stream is opened again after a jittered delay. When requests were in
// flight, the history is read beside it (`replay=true&follow=false`), and only
// replies to this process's own requests are taken out of it: the followed
// stream never carries anything old, so observers need not tell old from new.
//
// A stream that is merely silent may be half-open. Four things find out: TCP
// keep-alive, for a peer that is gone (30 s); a request that ran into its
// deadline while the stream was silent, for a server or proxy that is stuck; a
// publish that reaches the Events API at another address, for a name that has
// moved; and Config.IdleWatchdog for a stream without requests. See
// docs/adr/0003-reconnect.md.
package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// Config is what a Client is made of. URL, Token and Replies are required; a
// zero duration or size stands for its default.
type Config struct {
	// URL is what CollectionURL accepts.
	URL string
	// Token is the provider's own.
	Token TokenSource
	// Replies are the event names to listen to.
	Replies []string

	// Timeout bounds a Request whose context has no deadline; default 30 s.
	Timeout time.Duration
	// ConnectWait is how long after the loss of their reply stream requests
	// still wait for it to come back; default 3 s.
	ConnectWait time.Duration
	// LateReply is how long after ErrNoReply a late reply is of use; zero
	// means not at all.
	LateReply time.Duration

	// Retry says whether a lost stream is opened again; if not, Run ends with
	// the loss. RetryMin (default 1 s) and RetryMax (default 30 s) bound the
	// delay, which starts over once a stream lived HealthyAfter (default 30 s).
	Retry                            bool
	RetryMin, RetryMax, HealthyAfter time.Duration
	// IdleWatchdog is how long a stream may be silent before it is opened
	// again; default 5 min. Blank lines from a server count as signs of life.
	IdleWatchdog time.Duration
	// MaxLine bounds a line of a stream, in bytes; default 4 MiB.
	MaxLine int

	// Seed is where the jitter starts; zero means anywhere.
	Seed uint64
	// Logger gets losses and returns of streams; nil for none.
	Logger *slog.Logger
	// Metrics gets bus_vm_events_…; nil for none.
	Metrics *metrics.Set
}

// The defaults of Config. ConnectWait outlasts the first delay, which is at
// most 2 × RetryMin: one short loss refuses no request.
const (
	defaultTimeout      = 30 * time.Second
	defaultConnectWait  = 3 * time.Second
	defaultRetryMin     = time.Second
	defaultRetryMax     = 30 * time.Second
	defaultHealthyAfter = 30 * time.Second
	defaultIdleWatchdog = 5 * time.Minute
	defaultMaxLine      = 4 << 20
)

// Client talks to one Events API. Its methods are safe for concurrent use,
// except Observe and OnStream, which belong before Run.
type Client struct {
	config     Config
	collection string
	transport  *http.Transport
	publisher  *publisher
	publishes  publishCounts
	inFlight   atomic.Int64
	// lookup asks for the addresses of the host that connections are made to.
	lookup func(context.Context) ([]string, error)

	streams     map[string]*stream // by reply name
	streamHooks []func(reply string, up bool)
	fatal       chan error // one slot: why Run must end
	ended       context.Context
	end         context.CancelFunc // of ended, when the streams have ended

	mu       sync.Mutex
	closed   bool           // Run has ended: nothing new is started
	lookedUp time.Time      // when lookup was last called
	others   sync.WaitGroup // publishes, receivers of late replies, lookups
}

// New returns a Client that subscribes to nothing before Run. Its error is ErrURL, or
// says which required field is missing.
func New(config Config) (*Client, error) {
	collection, err := CollectionURL(config.URL)
	if err != nil {
		return nil, err
	}
	if config.Token == nil || len(config.Replies) == 0 {
		return nil, errors.New("BUG: an Events client needs a Token and Replies")
	}
	config.setDefaults()
	secured := tlsConfig()
	c := &Client{
		config:     config,
		collection: collection,
		transport:  newTransport(secured),
		publishes:  newPublishCounts(config.Metrics),
		streams:    make(map[string]*stream),
		fatal:      make(chan error, 1),
	}
	c.publisher = newPublisher(collection, secured, c.connectedTo)
	c.lookup = c.lookupHost
	c.ended, c.end = context.WithCancel(context.Background())
	for i, reply := range config.Replies {
		s := &stream{client: c, reply: reply, seed: config.Seed + uint64(i), pending: newPending(), ready: newReady()}
		s.counts = newStreamCounts(config.Metrics, reply, s.ready.up.Load)
		c.streams[reply] = s
	}
	config.Metrics.GetOrCreateGauge("bus_vm_events_requests_in_flight", func() float64 { return float64(c.inFlight.Load()) })
	return c, nil
}

func (c *Config) setDefaults() {
	setDefault(&c.Timeout, defaultTimeout)
	setDefault(&c.ConnectWait, defaultConnectWait)
	setDefault(&c.RetryMin, defaultRetryMin)
	setDefault(&c.RetryMax, defaultRetryMax)
	setDefault(&c.HealthyAfter, defaultHealthyAfter)
	setDefault(&c.IdleWatchdog, defaultIdleWatchdog)
	setDefault(&c.MaxLine, defaultMaxLine)
	if c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = metrics.NewSet()
	}
}

func setDefault[T time.Duration | int](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Observe calls see for every live envelope on the stream of reply that answers
// no request of this process, in the order of the stream. see must return soon.
// Observe belongs before Run; reply must be one of Config.Replies.
func (c *Client) Observe(reply string, see func(Envelope)) {
	s := c.streams[reply]
	s.observers = append(s.observers, see)
}

// OnStream calls see when a stream has opened, before anything is delivered
// from it, and at once when it is lost: what was sent between the two may have
// been missed. see must return soon, and is called for one stream while others
// deliver. OnStream belongs before Run.
func (c *Client) OnStream(see func(reply string, up bool)) {
	c.streamHooks = append(c.streamHooks, see)
}

func (c *Client) tell(reply string, up bool) {
	for _, see := range c.streamHooks {
		see(reply, up)
	}
}

// Missing returns the reply streams that were never up, or have been down for
// grace, in the order of Config.Replies.
func (c *Client) Missing(grace time.Duration) []string {
	var missing []string
	for _, reply := range c.config.Replies {
		if c.streams[reply].ready.missing(grace) {
			missing = append(missing, reply)
		}
	}
	return missing
}

// Connected waits for the stream of reply as Do does, and returns an
// ErrNotConnected when it would not publish. It waits no longer than Run lasts.
func (c *Client) Connected(ctx context.Context, reply string) error {
	if c.streams[reply].ready.up.Load() {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ended, cancel)()
	if c.streams[reply].ready.wait(ctx, c.config.ConnectWait) {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrNotConnected, reply)
}

// Run keeps the streams open. It returns after all of its children: nil when
// ctx ended it, an error that wraps ErrTokenRefused when the Events API refused
// a token that will not change, and the loss of a stream when Config.Retry is
// off. Requests that still wait end with ErrNoReply then. Run is called once.
func (c *Client) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var streams sync.WaitGroup
	for _, s := range c.streams {
		streams.Go(func() {
			if err := s.run(ctx); err != nil {
				c.fail(err)
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-c.fatal:
	}
	cancel()
	streams.Wait()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.end()
	c.others.Wait()
	c.publisher.close()
	return err
}

// background runs f in a goroutine that Run waits for; false means that Run has
// ended and f does not run.
func (c *Client) background(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.others.Go(f)
	}
	return !c.closed
}

// fail makes Run end with err, unless it ends already.
func (c *Client) fail(err error) {
	select {
	case c.fatal <- err:
	default:
	}
}

// lookupHost asks for the addresses of the proxy, or else of the Events API.
func (c *Client) lookupHost(ctx context.Context) ([]string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.collection, nil)
	if err != nil {
		return nil, err
	}
	target := request.URL
	if proxy, err := c.transport.Proxy(request); err == nil && proxy != nil {
		target = proxy
	}
	return net.DefaultResolver.LookupHost(ctx, target.Hostname())
}
