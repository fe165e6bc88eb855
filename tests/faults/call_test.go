package faults

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// callerSecret signs the callers' tokens. It is not the secret of the Events
// API, which would refuse a caller's token with 401.
const callerSecret = "the-secret-of-callers-in-these-tests-only"

const (
	start  = "start"
	stop   = "stop"
	status = "status"
)

// What error.outcome says of a failed write (contract §2).
const (
	notSent  = "not_sent" // nothing was done
	rejected = "rejected" // the runtime said no
	unknown  = "unknown"  // the runtime may still act
)

// call is one request of a caller, by an account of its own, and its answer.
type call struct {
	gateway            *gateway
	action             string
	account, requestID string
	token, body        string
	began, ended       time.Time
	answer
}

func newCall(g *gateway, action string) *call {
	c := &call{gateway: g, action: action, account: uuid.NewString(), requestID: uuid.NewString()}
	c.token = platform.CallerToken(callerSecret, c.account, "vm:read vm:write")
	return c
}

// raw is the text of the request.
func (c *call) raw() string {
	method := http.MethodPost
	if c.action == status {
		method = http.MethodGet
	}
	var raw strings.Builder
	fmt.Fprintf(&raw, "%s /api/v1/vm/%s HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nX-Request-Id: %s\r\n", method, c.action, c.requestID)
	if c.token != "" {
		fmt.Fprintf(&raw, "Authorization: Bearer %s\r\n", c.token)
	}
	fmt.Fprintf(&raw, "Content-Length: %d\r\n\r\n%s", len(c.body), c.body)
	return raw.String()
}

// send makes the call and waits for its answer.
func (c *call) send() *call {
	raw := c.raw()
	c.began = time.Now()
	c.answer = exchange(c.gateway.addr, raw)
	c.ended = time.Now()
	return c
}

// accepted is the body of a 202.
func accepted(action string) string { return `{"accepted":true,"action":"` + action + `"}` }

// flaw says how the answer is none of this API, or "".
func (c *call) flaw() string {
	if c.action == status {
		return c.answer.flaw(c.requestID, http.StatusOK, `{"status":{"state":"`)
	}
	if c.status == http.StatusAccepted && c.answer.body != accepted(c.action) {
		return "the body is " + c.answer.body
	}
	return c.answer.flaw(c.requestID, http.StatusAccepted, accepted(c.action))
}

func (c *call) is(status int, kind string) bool {
	return c.status == status && c.failure().Type == kind
}

func (c *call) took() time.Duration { return c.ended.Sub(c.began) }

// doubtful says that the runtime may still act on a failed write.
func (c *call) doubtful() bool {
	f := c.failure()
	return f.Outcome == "unknown" || strings.Contains(f.Message, "may still act")
}

func (c *call) String() string {
	return fmt.Sprintf("%s %s by %s → %d %s %v", c.action, c.requestID, c.account, c.status, c.answer.body, c.err)
}

// book keeps all calls of a test.
type book struct {
	mu            sync.Mutex
	writes, reads []*call
}

func (b *book) add(c *call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.action == status {
		b.reads = append(b.reads, c)
	} else {
		b.writes = append(b.writes, c)
	}
}

func (b *book) statuses() map[int]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	counts := map[int]int{}
	for _, c := range b.writes {
		counts[c.status]++
	}
	return counts
}

// together makes n calls at a time, the i-th by one; all are there once answered
// has been waited for.
func (r *rig) together(n int, one func(i int) *call) (calls []*call, answered *sync.WaitGroup) {
	calls, answered = make([]*call, n), &sync.WaitGroup{}
	for i := range calls {
		answered.Go(func() { calls[i] = one(i) })
	}
	return calls, answered
}

// write makes one start or stop and notes it.
func (r *rig) write(g *gateway, action string) *call { return r.make(newCall(g, action)) }

// read makes one status read and notes it.
func (r *rig) read(g *gateway) *call { return r.make(newCall(g, status)) }

func (r *rig) make(c *call) *call {
	c.send()
	r.book.add(c)
	return c
}

// want fails the test unless the call was answered so. A kind is not looked at
// beside a success.
func (r *rig) want(c *call, status int, kind string) *call {
	r.t.Helper()
	require.True(r.t, c.is(status, kind), "want %d %s, got %s\n%s", status, kind, c, c.gateway.log)
	return c
}

// expect is want for a row of a table: the test goes on.
func (r *rig) expect(name string, c *call, status int, kind string) {
	r.t.Helper()
	assert.True(r.t, c.is(status, kind), "%.200s: %.600s, want %d %s", name, c, status, kind)
}

// wantWrite makes a write that must be answered so.
func (r *rig) wantWrite(g *gateway, action string, status int, kind string) *call {
	r.t.Helper()
	return r.want(r.write(g, action), status, kind)
}

// How often each caller makes a write and a read.
const (
	steady = 25 * time.Millisecond
	hectic = time.Millisecond
)

// callers lets n callers start, stop and read at a steady pace, until end, which
// waits until every call has been answered.
func (r *rig) callers(g *gateway, n int) (end func()) { return r.callersAt(steady, g, n) }

func (r *rig) callersAt(pace time.Duration, g *gateway, n int) (end func()) {
	quit := make(chan struct{})
	var done sync.WaitGroup
	for i := range n {
		done.Go(func() {
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for turn := i; ; turn++ {
				if r.write(g, []string{start, stop}[turn%2]); g.hasEnded() {
					return
				}
				r.read(g)
				select {
				case <-tick.C:
				case <-quit:
					return
				case <-g.ended:
					return
				}
			}
		})
	}
	return func() {
		close(quit)
		done.Wait()
	}
}
