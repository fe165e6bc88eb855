package replicas

import (
	"context"
	"database/sql"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
	"github.com/busdk/bus-api-provider-vm/tests/postgres"
)

// The secrets of the Events API and of the callers, who are no clients of it.
const (
	eventsSecret = "the-secret-of-the-platform-in-these-tests-only"
	callerSecret = "the-secret-of-callers-in-these-tests-only"
)

// replicas is how many gateways a test has.
const replicas = 3

// moves is how long the machine takes to start or stop.
const moves = 200 * time.Millisecond

// settings are production's shape with shorter times. An operation without a
// reply closes 5 s + timeout + late reply after its insert.
var settings = []string{
	"BUS_VM_ADDR=127.0.0.1:0", "BUS_VM_ADMIN_ADDR=127.0.0.1:0",
	"BUS_VM_BACKEND=events", "BUS_VM_BILLING_BACKEND=events", "BUS_VM_USAGE_BACKEND=events",
	"BUS_VM_JWT_SECRET=" + callerSecret, "BUS_VM_TIMEOUT=2s", "BUS_VM_LATE_REPLY=1s",
	"BUS_EVENTS_LISTENER_RETRY_MIN=20ms", "BUS_EVENTS_LISTENER_RETRY_MAX=200ms",
	"BUS_VM_SHUTDOWN_TIMEOUT=10s", "BUS_VM_LOG_LEVEL=debug",
}

// rig is a platform and a database with the gateways between them, and all that
// callers did.
type rig struct {
	t *testing.T
	*platform.Platform
	database *postgres.Server
	db       *sql.DB
	url      string // of the database
	env      []string
	links    [replicas]*link // of each gateway to the database
	gateways [replicas]*gateway

	mu    sync.Mutex
	calls []*call
}

// newRig starts all of it on a database of its own; seed is that of the platform, and
// env are settings that differ.
func newRig(t *testing.T, database *postgres.Server, seed uint64, env ...string) *rig {
	t.Helper()
	p, err := platform.Start(platform.Config{Secret: eventsSecret, Seed: seed, VM: platform.VMConfig{StartTime: moves, StopTime: moves}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	url := database.Database()
	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	r := &rig{t: t, Platform: p, database: database, db: db, url: url}
	t.Cleanup(func() { assert.NoError(t, r.db.Close()) })
	r.env = slices.Concat([]string{"PATH=" + os.Getenv("PATH"), "BUS_EVENTS_API_URL=" + p.URL(),
		"BUS_API_TOKEN=" + p.ProviderToken()}, settings, env)
	for i := range r.gateways {
		r.links[i] = newLink(t, url)
		r.gateways[i] = r.launch(i)
	}
	t.Cleanup(r.finish)
	for _, g := range r.gateways {
		g.awaitReady()
	}
	return r
}

// gateway is one life of a gateway.
type gateway struct {
	t       *testing.T
	front   string // the address of nginx, which is no gateway
	command *exec.Cmd
	log     *harness.Output
	killed  atomic.Bool
	ended   chan struct{}
}

// launch starts the gateway of that number without waiting for it, with settings that
// differ.
func (r *rig) launch(i int, env ...string) *gateway {
	r.t.Helper()
	g := &gateway{t: r.t, command: exec.Command(harness.Gateway(r.t)), log: &harness.Output{}, ended: make(chan struct{})}
	g.command.Env, g.command.Stderr = slices.Concat(r.env, []string{"BUS_VM_STORE_URL=" + r.links[i].url}, env), g.log
	require.NoError(r.t, g.command.Start())
	go func() {
		defer close(g.ended)
		_ = g.command.Wait() // its outcome is the exit code
	}()
	return g
}

func (g *gateway) signal(s syscall.Signal) { _ = g.command.Process.Signal(s) } // too late for one that has ended

// kill ends it as kill -9 does.
func (g *gateway) kill() {
	g.killed.Store(true)
	g.signal(syscall.SIGKILL)
	<-g.ended
}

// stop ends it in order.
func (g *gateway) stop() {
	g.t.Helper()
	g.signal(syscall.SIGTERM)
	select {
	case <-g.ended:
	case <-time.After(harness.WaitLimit):
		g.signal(syscall.SIGQUIT)
		<-g.ended
	}
	assert.Zero(g.t, g.command.ProcessState.ExitCode(), "exit code:\n%s", g.log)
}

// freezeFor stops the process for a while, as a paused machine does.
func (g *gateway) freezeFor(d time.Duration) {
	g.signal(syscall.SIGSTOP)
	time.Sleep(d) // the freeze is what happens
	g.signal(syscall.SIGCONT)
}

var servingLine, adminLine = regexp.MustCompile(`msg=serving .*? addr=(\S+)`), regexp.MustCompile(`msg=serving .*? admin=(\S+)`)

// addr is where it listens; empty before it does, and after its end.
func (g *gateway) addr() string {
	if g.front != "" {
		return g.front
	}
	match := servingLine.FindStringSubmatch(g.log.String())
	if match == nil || g.hasEnded() {
		return ""
	}
	return match[1]
}

func (g *gateway) hasEnded() bool {
	select {
	case <-g.ended:
		return true
	default:
		return false
	}
}

func (g *gateway) awaitReady() {
	g.t.Helper()
	harness.Eventually(g.t, "ready", func() bool {
		require.False(g.t, g.hasEnded(), "the gateway ended by itself:\n%s", g.log)
		answer := (&call{gateway: g}).do(http.MethodGet, "/readyz")
		return answer.status == http.StatusOK
	}, g.log)
}

// call is one request of a caller, by an account of its own, and its answer.
type call struct {
	gateway                    *gateway
	action, account, requestID string
	key                        string // idempotency key, empty for none
	wait                       int    // how many seconds the caller waits, 0 for not at all
	status                     int
	body                       string
	header                     http.Header
	err                        error
	took                       time.Duration
	at                         time.Time // of the answer
}

func (c *call) do(method, path string) *call {
	began := time.Now()
	request, err := http.NewRequest(method, "http://host.test"+path, nil)
	if err != nil {
		c.err = err
		return c
	}
	request.Header.Set("X-Request-Id", c.requestID)
	request.Header.Set("Authorization", "Bearer "+platform.CallerToken(callerSecret, c.account, "vm:read vm:write"))
	if c.key != "" {
		request.Header.Set("Idempotency-Key", c.key)
	}
	if c.wait > 0 {
		request.Header.Set("Prefer", "wait="+strconv.Itoa(c.wait))
	}
	client := &http.Client{Timeout: harness.WaitLimit, Transport: &http.Transport{
		DisableKeepAlives: true, // a connection for each request
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return harness.Dial(ctx, c.gateway.addr()) },
	}}
	reply, err := client.Do(request)
	if err != nil {
		c.err = err
		return c
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	c.status, c.header, c.body, c.err, c.took, c.at = reply.StatusCode, reply.Header, string(body), err, time.Since(began), time.Now()
	return c
}

func (c *call) outcome() string {
	_, after, _ := strings.Cut(c.body, `"outcome":"`)
	outcome, _, _ := strings.Cut(after, `"`)
	return outcome
}

// accepted: the runtime took the operation on, whatever came of a wait after that.
func (c *call) accepted() bool {
	return c.status == http.StatusAccepted || c.status == http.StatusOK || c.outcome() == "accepted"
}

// replayed: it is the answer of an earlier call with the same key.
func (c *call) replayed() bool { return c.header.Get("Idempotency-Replayed") != "" }

func (c *call) String() string {
	return strings.Join([]string{c.action, c.requestID, "by", c.account, "→", strconv.Itoa(c.status), c.body}, " ")
}

const (
	start  = "start"
	stop   = "stop"
	status = "status"
)

// write makes a start or a stop, whose caller does not wait.
func (r *rig) write(g *gateway, action string) *call { return r.waitFor(g, action, 0) }

// waitFor makes a start or a stop, whose caller waits for so many seconds.
func (r *rig) waitFor(g *gateway, action string, seconds int) *call {
	return r.make(&call{gateway: g, action: action, wait: seconds, account: uuid.NewString(), requestID: uuid.NewString()})
}

// make makes a write that is given but for its answer.
func (r *rig) make(c *call) *call {
	c.do(http.MethodPost, "/api/v1/vm/"+c.action)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, c)
	return c
}

// calling lets n callers start and stop, by the gateway and with the wait that each turn
// says, until quit, which returns when all have been answered. Gateways that have ended
// are left out.
func (r *rig) calling(n int, pace time.Duration, to func(turn int) (g *gateway, wait int)) (quit func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for turn := range n {
		all.Go(func() {
			harness.Every(ctx, pace, func() {
				if g, wait := to(turn); !g.hasEnded() {
					r.waitFor(g, []string{start, stop}[turn/replicas%2], wait)
				}
				turn++
			})
		})
	}
	return func() { cancel(); all.Wait() }
}

// inTime says how long something took. All share one machine, so it only fails where that
// is many times what is wanted.
func (r *rig) inTime(took, wanted time.Duration, what string) {
	r.t.Helper()
	r.t.Logf("%s took %v (%v are wanted)", what, took, wanted)
	assert.Less(r.t, took, 10*wanted, what)
}

// waits is how many callers a gateway has wait.
func (g *gateway) waits() int {
	_, text := harness.Get(g.t, adminLine.FindStringSubmatch(g.log.String())[1], "/metrics", "")
	n, _ := harness.Metric(text, "bus_vm_waits_open")
	return int(n)
}

// read reads the status.
func (r *rig) read(g *gateway) *call {
	return (&call{gateway: g, action: status, account: uuid.NewString(), requestID: uuid.NewString()}).do(http.MethodGet, "/api/v1/vm/status")
}

// behind makes a write and returns where its answer comes.
func (r *rig) behind(g *gateway, action string) <-chan *call {
	answered := make(chan *call, 1)
	go func() { answered <- r.write(g, action) }()
	return answered
}

// count is what a query of one number says; false while the database is away.
func (r *rig) count(query string, args ...any) (n int, ok bool) {
	return n, r.db.QueryRow(query, args...).Scan(&n) == nil
}

// slowCommits lets each commit of an operation take a second of the database, until quick.
func (r *rig) slowCommits() (quick func()) {
	r.t.Helper()
	r.execute(`create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(1); return null; end'`)
	r.execute(`create constraint trigger slow after insert on operations deferrable initially deferred for each row execute function slow()`)
	return func() { r.execute(`drop trigger slow on operations`) }
}

// execute is what an administrator says to the database.
func (r *rig) execute(statement string) {
	r.t.Helper()
	_, err := r.db.Exec(statement)
	require.NoError(r.t, err, statement)
}

// awaitCount waits until a query says n.
func (r *rig) awaitCount(n int, query string, args ...any) {
	r.t.Helper()
	var have int
	harness.Eventually(r.t, query, func() bool {
		var ok bool
		have, ok = r.count(query, args...)
		return ok && have == n
	})
}
