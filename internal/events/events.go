// Package events is a client of the Bus Events API: it publishes requests and
// finds the replies to them on one long-lived NDJSON stream a reply name.
//
// A request is pending under its correlation id before it is published, so a
// reply may overtake the answer to the publish. Its reply is decoded once, by the
// request itself. No lifecycle request whose outcome is unknown is sent again. How
// streams that are lost, silent or elsewhere come back is in
// docs/adr/0003-reconnect.md.
package events

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// Config is what a Client is made of; all of it but Logger and Metrics is required.
type Config struct {
	URL     string // what CollectionURL accepts
	Token   *TokenSource
	Replies []string      // the event names to listen to
	Timeout time.Duration // of a Request
	// Retry says whether a lost stream is opened again, after RetryMin to RetryMax;
	// if not, Run ends with the loss.
	Retry              bool
	RetryMin, RetryMax time.Duration
	Logger             *slog.Logger // of losses and returns of streams; nil for none
	Metrics            *metrics.Set // bus_vm_events_…; nil for none
}

const (
	// connectWait is how long after the loss of their reply stream requests
	// still wait for it to come back. It outlasts the first delay, which is at
	// most 2 × RetryMin by default: one short loss refuses no request.
	connectWait = 3 * time.Second
	// idleWatchdog is how long a stream may be silent before it is opened
	// again. Blank lines from a server count as signs of life.
	idleWatchdog = 5 * time.Minute
	healthyAfter = 30 * time.Second // the life of a stream that was healthy
	maxLine      = 4 << 20          // bytes of a line of a stream
)

// Client talks to one Events API. Its methods are safe for concurrent use,
// except Observe and OnStream, which belong before Run.
type Client struct {
	config     Config
	collection string
	// transport opens streams. Lifecycle requests go out on a fresh connection
	// each: an idle one may have been closed by its server, and then it is
	// unknown whether the request was read. All others share connections.
	transport, fresh, shared *http.Transport
	publishes                map[string]*metrics.Counter // by result
	inFlight                 *metrics.Gauge

	streams map[string]*stream // by reply name
	outage  outage
	running context.Context // ends with Run, or before it for what makes Run end
	end     context.CancelCauseFunc

	mu     sync.Mutex
	closed bool           // the streams have ended: nothing new is started
	others sync.WaitGroup // publishes
}

// New returns a Client that subscribes to nothing before Run. Its error is ErrURL.
func New(config Config) (*Client, error) {
	collection, err := CollectionURL(config.URL)
	if err != nil {
		return nil, err
	}
	config.Logger = cmp.Or(config.Logger, slog.New(slog.DiscardHandler))
	config.Metrics = cmp.Or(config.Metrics, metrics.NewSet())
	c := &Client{
		config:     config,
		collection: collection,
		transport:  newTransport(),
		inFlight:   config.Metrics.GetOrCreateGauge("bus_vm_events_requests_in_flight", nil),
		publishes:  counters(config.Metrics, "publishes_total{result=%q}", "accepted", "refused", "not_sent", "unknown"),
		streams:    make(map[string]*stream),
	}
	c.running, c.end = context.WithCancelCause(context.Background())
	c.fresh = c.transport.Clone()
	c.fresh.ResponseHeaderTimeout = 0 // the context bounds it
	c.fresh.MaxConnsPerHost = maxPublishConns
	c.fresh.WriteBufferSize, c.fresh.ReadBufferSize = publishBuffer, publishBuffer
	c.shared = c.fresh.Clone()
	c.shared.DisableKeepAlives = false
	c.shared.IdleConnTimeout = maxConnIdle
	c.shared.MaxIdleConnsPerHost = maxPublishConns
	for _, reply := range config.Replies {
		c.streams[reply] = newStream(c, reply)
	}
	return c, nil
}

// Observe calls see for every envelope on the stream of reply, or in its history,
// that no request of this process waits for. see must return soon. Observe belongs
// before Run, once for a reply, which must be one of Config.Replies.
func (c *Client) Observe(reply string, see func(Envelope)) { c.streams[reply].observe = see }

// WantHistory lets wanted decide, each time the stream of reply has been opened,
// whether all of its history is read. It belongs before Run.
func (c *Client) WantHistory(reply string, wanted func() bool) { c.streams[reply].wantHistory = wanted }

// ReadHistory reads the history of the stream of reply, as far back as there is
// one, and returns when its observers have seen all of it.
func (c *Client) ReadHistory(ctx context.Context, reply string) error {
	return c.streams[reply].replay(ctx)
}

// OnStream calls see when the stream of reply has opened, before anything is
// delivered from it, and at once when it is lost: what was sent between the two may
// have been missed. see must return soon. OnStream belongs before Run, once.
func (c *Client) OnStream(reply string, see func(up bool)) { c.streams[reply].onStream = see }

// Connected returns once the stream of reply is up. It gives up, with an
// ErrNotSent, when ctx or Run ends or the stream has been lost for longer than
// connectWait: in a long outage no request waits.
func (c *Client) Connected(ctx context.Context, reply string) error {
	s := c.streams[reply]
	s.mu.Lock()
	up, connected, left := s.conn != nil, s.connected, connectWait-time.Since(s.lost)
	s.mu.Unlock()
	if up {
		return nil
	}
	select {
	case <-connected:
		return nil
	case <-time.After(max(left, 0)):
	case <-ctx.Done():
	case <-c.running.Done():
	}
	return fmt.Errorf("%w: the reply stream %s is not connected", ErrNotSent, reply)
}

// Run keeps the streams open. It returns after all of its children: nil when
// ctx ended it, an error that wraps ErrTokenRefused when the Events API refused
// a token that will not change, and the loss of a stream when Config.Retry is
// off. Requests that still wait end with ErrNoReply then. Run is called once.
func (c *Client) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { c.end(nil) })()
	var streams sync.WaitGroup
	for _, s := range c.streams {
		streams.Go(func() { s.run(c.running) })
	}
	<-c.running.Done()
	streams.Wait()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.others.Wait()
	c.shared.CloseIdleConnections()
	if cause := context.Cause(c.running); cause != context.Canceled {
		return cause
	}
	return nil
}

// The requests this gateway publishes. ReplyName names the event that answers.
const (
	StatusRequest      = "bus.vm.status.request"
	StartRequest       = "bus.vm.start.request"
	StopRequest        = "bus.vm.stop.request"
	EntitlementRequest = "bus.billing.entitlement.check.request"
	UsageRequest       = "bus.usage.record.request"
)

// ReplyName is the event that answers request: `.request` becomes `.response`.
func ReplyName(request string) string {
	return strings.TrimSuffix(request, ".request") + ".response"
}

// scopes lists what the Events API asks for, by the request that an event is or answers.
var scopes = map[string]string{
	StatusRequest: "vm:read", StartRequest: "vm:write", StopRequest: "vm:write",
	UsageRequest: "usage:write", EntitlementRequest: "billing:entitlement:check",
}

// ScopesFor lists the scopes that the provider token needs in order to publish
// and to subscribe to the named events, sorted and each once.
func ScopesFor(names ...string) (need []string) {
	for request, scope := range scopes {
		if slices.Contains(names, request) || slices.Contains(names, ReplyName(request)) {
			need = append(need, scope)
		}
	}
	slices.Sort(need)
	return slices.Compact(need)
}

// collectionPath is the resource of the Events API that publishes and streams.
const collectionPath = "/api/v1/events"

// ErrURL means that a URL cannot be that of an Events API. The URL itself is
// not repeated: it may hold a password.
var ErrURL = errors.New("the Events URL must be an absolute http or https URL without user, query or fragment")

// CollectionURL turns what operators write, the root of the service, a root
// with a path or the collection itself, into the collection's URL without a
// trailing slash. Its error is ErrURL.
func CollectionURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#") {
		return "", ErrURL
	}
	root := strings.TrimRight(u.EscapedPath(), "/")
	if !strings.HasSuffix(root, collectionPath) {
		root += collectionPath
	}
	return u.Scheme + "://" + u.Host + root, nil
}

// counters registers a counter for each value of the label that format names.
func counters(set *metrics.Set, format string, values ...string) map[string]*metrics.Counter {
	all := make(map[string]*metrics.Counter)
	for _, value := range values {
		all[value] = set.GetOrCreateCounter(fmt.Sprintf("bus_vm_events_"+format, value))
	}
	return all
}
