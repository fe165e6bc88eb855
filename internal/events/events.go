// Package events is a client of the Bus Events API: it publishes requests and
// finds the replies to them on one long-lived NDJSON stream a reply name.
//
// A request is entered under its correlation id before it is published, so a
// reply may overtake the answer to the publish. It leaves the book on every
// way out: answered, refused, or given up. Nothing whose outcome is unknown is
// sent again.
//
// A lost stream is opened again after a jittered delay. When requests were in
// flight, the history is read beside it (`replay=true&follow=false`), and only
// replies to this process's own requests are taken out of it: the followed
// stream never carries anything old, so observers need not tell old from new.
//
// A stream that is merely silent may be half-open. Three things find out: TCP
// keep-alive, for a peer that is gone (30 s); a request that ran into its
// deadline while the stream was silent, for a server or proxy that is stuck;
// and Config.IdleWatchdog for a stream on which nobody asks. See
// docs/adr/0003-reconnect.md.
package events

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
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
	// Logger gets losses and returns of streams; nil means silence.
	Logger *slog.Logger
	// Metrics gets bus_vm_events_…; nil means nobody looks.
	Metrics *metrics.Set
}

// The defaults of Config. ConnectWait outlasts the first delay, which is at
// most 2 × RetryMin: one short loss refuses nobody.
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
// except Observe and OnGap, which belong before Run.
type Client struct {
	config     Config
	collection string
	transport  *http.Transport
	publisher  *publisher
	publishes  publishCounts
	inFlight   atomic.Int64

	streams      map[string]*stream // by reply name
	gapObservers []func(reply string)
	late         sync.WaitGroup // of receivers of late replies
	fatal        chan error     // one slot: why Run must end
	ended        context.Context
	end          context.CancelFunc // of ended, when the streams have ended
}

// New returns a Client that hears nothing before Run. Its error is ErrURL, or
// says which required field is missing.
func New(config Config) (*Client, error) {
	collection, err := CollectionURL(config.URL)
	if err != nil {
		return nil, err
	}
	if config.Token == nil || len(config.Replies) == 0 {
		return nil, errors.New("BUG: an Events client needs a Token and Replies")
	}
	target, err := url.Parse(collection)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrURL, "it cannot be parsed")
	}
	config.setDefaults()
	secured := &tls.Config{MinVersion: tls.VersionTLS12}
	c := &Client{
		config:     config,
		collection: collection,
		transport:  newTransport(secured),
		publisher:  newPublisher(target, secured),
		publishes:  newPublishCounts(config.Metrics),
		streams:    make(map[string]*stream),
		fatal:      make(chan error, 1),
	}
	c.ended, c.end = context.WithCancel(context.Background())
	for i, reply := range config.Replies {
		s := &stream{client: c, reply: reply, seed: config.Seed + uint64(i), book: newBook(), gate: newGate()}
		s.counts = newStreamCounts(config.Metrics, reply, s.gate.up.Load)
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
