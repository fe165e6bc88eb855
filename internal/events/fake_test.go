package events

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp/fasthttputil"
	"go.uber.org/goleak"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// waitLimit is how long a test waits for what must happen.
const waitLimit = 20 * time.Second

// fake is an Events API with holes to put faults into. It checks no scopes.
type fake struct {
	*httptest.Server
	t      *testing.T
	before goleak.Option // what ran before the fake

	published chan published     // every publish that was read
	opened    chan *fakeStream   // every stream that was opened, replays too
	requests  chan *http.Request // every GET, before anything else
	// publish answers a publish, with 202 unless set; listen, when set, answers a
	// GET and returns true, or returns false.
	publish func(http.ResponseWriter, *http.Request, published)
	listen  func(http.ResponseWriter, *http.Request) bool
	// cut, when set, gets why the body of a publish could not be read; without it
	// that is an error of the test.
	cut chan error
	// dial is how clients connect, when set.
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu      sync.Mutex
	history map[string][]string
	streams map[*fakeStream]string
}

type published struct {
	Name          string          `json:"name"`
	CorrelationID string          `json:"correlationId"`
	Payload       json.RawMessage `json:"payload"`
}

// fakeStream is one open stream; what is sent into lines is written as it is.
type fakeStream struct {
	query url.Values
	lines chan string
	cut   chan struct{} // closed: the stream ends
	ended chan struct{} // closed by the server once it has
	once  sync.Once
}

func (s *fakeStream) end() { s.once.Do(func() { close(s.cut) }) }

// newFake starts a fake, after it was prepared.
func newFake(t *testing.T, prepare ...func(*fake)) *fake {
	f := &fake{
		t: t, before: goleak.IgnoreCurrent(),
		published: make(chan published, 20000), opened: make(chan *fakeStream, 1000), requests: make(chan *http.Request, 1000),
		publish: accept, history: make(map[string][]string), streams: make(map[*fakeStream]string),
	}
	f.Server = httptest.NewUnstartedServer(f)
	for _, p := range prepare {
		p(f)
	}
	if f.URL == "" { // not started by prepare
		f.Start()
	}
	return f
}

// inBubble runs test in a synctest bubble, with a fake that is reached without
// a network.
func inBubble(t *testing.T, test func(t *testing.T, f *fake), prepare ...func(*fake)) {
	synctest.Test(t, func(t *testing.T) {
		listener := fasthttputil.NewInmemoryListener()
		inMemory := func(f *fake) {
			f.Listener.Close()
			f.Listener = listener
			f.dial = func(context.Context, string, string) (net.Conn, error) { return listener.Dial() }
		}
		test(t, newFake(t, append([]func(*fake){inMemory}, prepare...)...))
	})
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/root/api/v1/events":
		var p published
		body, err := io.ReadAll(r.Body)
		if err != nil && f.cut != nil {
			f.cut <- err
			return
		}
		if err != nil || json.Unmarshal(body, &p) != nil || r.Header.Get("Content-Type") != "application/json" {
			f.t.Errorf("a bad publish: %q, %v, %v", body, err, r.Header)
		}
		f.published <- p
		f.publish(w, r, p)
	case r.Method == http.MethodGet && r.URL.Path == "/root/api/v1/events/stream":
		f.requests <- r
		if f.listen == nil || !f.listen(w, r) {
			f.stream(w, r)
		}
	default:
		f.t.Errorf("unexpected %s %s", r.Method, r.URL)
	}
}

func accept(w http.ResponseWriter, _ *http.Request, p published) {
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, `{"accepted":true,"id":"1","name":%q}`, p.Name)
}

func (f *fake) stream(w http.ResponseWriter, r *http.Request) {
	s := &fakeStream{query: r.URL.Query(), lines: make(chan string, 30000), cut: make(chan struct{}), ended: make(chan struct{})}
	defer close(s.ended)
	name := s.query.Get("name")
	f.mu.Lock()
	if s.query.Get("replay") == "true" {
		for _, line := range f.history[name] {
			s.lines <- line
		}
	}
	f.streams[s] = name
	f.mu.Unlock()
	defer func() { f.mu.Lock(); delete(f.streams, s); f.mu.Unlock() }()
	w.Header().Set("Content-Type", "application/x-ndjson")
	control := http.NewResponseController(w)
	_ = control.Flush()
	f.opened <- s
	for {
		if s.query.Get("follow") == "false" && len(s.lines) == 0 {
			return
		}
		select {
		case line := <-s.lines:
			_, _ = io.WriteString(w, line)
			_ = control.Flush()
		case <-s.cut:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// line sends one event to all open streams of name, and keeps it.
func (f *fake) line(name, line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.history[name] = append(f.history[name], line)
	for s, of := range f.streams {
		if of == name {
			s.lines <- line
		}
	}
}

// reply sends {"n":n} as the reply called name to the request id.
func (f *fake) reply(name, id string, n int) {
	f.line(name, fmt.Sprintf(`{"name":%q,"correlationId":%q,"payload":{"n":%d}}`+"\n", name, id, n))
}

// loseReply replies while s is cut off: the reply is in the history only.
func (f *fake) loseReply(s *fakeStream, id string, n int) {
	f.mu.Lock()
	delete(f.streams, s)
	f.mu.Unlock()
	f.reply(startReply, id, n)
	s.end()
}

// stop ends everything that is open, then the server.
func (f *fake) stop() {
	f.mu.Lock()
	for s := range f.streams {
		s.end()
	}
	f.mu.Unlock()
	f.CloseClientConnections()
	f.Close()
}

// startReply is the reply stream of most tests.
var startReply = ReplyName(StartRequest)

// running is a client that runs against a fake.
type running struct {
	*Client
	fake *fake
	set  *metrics.Set
	stop context.CancelFunc
	err  chan error // what Run returned
}

// start runs a client; change may adapt its settings, which are short so that
// what has to time out does so soon, before the client first reaches the fake.
// At the end of the test nothing of either is left.
func start(t *testing.T, f *fake, change func(*Config), prepare ...func(*Client)) *running {
	t.Helper()
	token, err := StaticToken(secret.New("provider-token"))
	require.NoError(t, err)
	config := Config{
		URL: f.URL + "/root", Token: token, Replies: []string{startReply}, Metrics: metrics.NewSet(),
		Timeout: waitLimit, Retry: true, RetryMin: time.Millisecond, RetryMax: 4 * time.Millisecond,
	}
	if change != nil {
		change(&config)
	}
	c, err := New(config)
	require.NoError(t, err)
	for _, transport := range []*http.Transport{c.transport, c.shared, c.fresh} {
		if f.dial != nil {
			transport.DialContext = f.dial
		}
	}
	for _, p := range prepare {
		p(c)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{Client: c, fake: f, set: config.Metrics, stop: stop, err: make(chan error, 1)}
	ended := make(chan struct{})
	go func() { defer close(ended); r.err <- c.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-ended
		f.stop()
		for _, s := range c.streams {
			assert.Empty(t, s.pending.waiting, "still pending")
		}
		assert.Zero(t, c.inFlight.Get(), "still in flight")
		goleak.VerifyNone(t, f.before)
	})
	return r
}

// outcome is what one Do returned.
type outcome struct {
	envelope Envelope
	err      error
}

// ask starts a start request in the background.
func (r *running) ask(id string) <-chan outcome {
	return r.request(context.Background(), startRequest(id))
}

// sent asks for a start and waits until that is published.
func (r *running) sent(t *testing.T, id string) <-chan outcome {
	t.Helper()
	reply := r.ask(id)
	want(t, r.fake.published)
	return reply
}

// roundTrip asks for a start that is answered with {"n":n}.
func (r *running) roundTrip(t *testing.T, id string, n int) {
	t.Helper()
	reply := r.sent(t, id)
	r.fake.reply(startReply, id, n)
	wantN(t, reply, n)
}

// startRequest is a start that takes any reply but an error.
func startRequest(id string) Request {
	return Request{
		Name: StartRequest, CorrelationID: id, Payload: map[string]string{"id": id}, Lifecycle: true,
		Decode: Envelope.Err,
	}
}

// observing sends what the observers of the stream of startReply see into seen.
func observing(seen chan<- Envelope) func(*Client) {
	return func(c *Client) { c.Observe(startReply, func(e Envelope) { seen <- e }) }
}

func (r *running) request(ctx context.Context, request Request) <-chan outcome {
	result := make(chan outcome, 1)
	go func() {
		var o outcome
		decode := request.Decode
		request.Decode = func(e Envelope) error { o.envelope = e; return decode(e) }
		o.err = r.Do(ctx, request)
		result <- o
	}()
	return result
}

// want waits for one value of c.
func want[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	return harness.Next(t, c)
}

// wantN checks that a request was answered with {"n":n}.
func wantN(t *testing.T, c <-chan outcome, n int) {
	t.Helper()
	o := want(t, c)
	assert.NoError(t, o.err)
	assert.Equal(t, fmt.Sprintf(`{"n":%d}`, n), string(o.envelope.Payload))
}

// wantErr checks that a request failed with target, and returns the error.
func wantErr(t *testing.T, c <-chan outcome, target error) error {
	t.Helper()
	o := want(t, c)
	assert.ErrorIs(t, o.err, target)
	return o.err
}

// counter reads one metric, 0 where it does not exist.
func (r *running) counter(name string) int {
	var text strings.Builder
	r.set.WritePrometheus(&text)
	n, _ := harness.Metric(text.String(), name)
	return int(n)
}

// wantReplies checks how many replies were counted as what.
func (r *running) wantReplies(t *testing.T, kinds map[string]int) {
	t.Helper()
	for kind, n := range kinds {
		r.wantCounter(t, fmt.Sprintf("bus_vm_events_replies_total{event=%q,match=%q}", startReply, kind), n)
	}
}

// wantCounter waits until a metric has the value n: a reply is counted after it
// was handed on, and a publish when it has been answered.
func (r *running) wantCounter(t *testing.T, name string, n int) {
	t.Helper()
	for end := time.Now().Add(waitLimit); r.counter(name) != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s is %d, want %d", name, r.counter(name), n)
		}
	}
}
