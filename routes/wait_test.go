package routes_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
	"github.com/busdk/bus-api-provider-vm/middleware"
	"github.com/busdk/bus-api-provider-vm/routes"
)

// followed is a runtime whose statuses are seen when the test says so.
type followed struct {
	*runtime
	mu       sync.Mutex
	seen     *backend.Seen
	changed  chan struct{}
	follows  int
	accepted time.Duration // what Apply takes
}

func (f *followed) say(state, details string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen, _ = snapshot.Status{State: state, Provider: "fake", Details: json.RawMessage(details)}.See(time.Now())
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *followed) See(context.Context) (*backend.Seen, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen, nil
}

func (f *followed) Latest() *backend.News {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &backend.News{Seen: f.seen, Changed: f.changed}
}

func (f *followed) AcceptedAt(time.Time) {}

func (f *followed) Follow() func() {
	add := func(n int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.follows += n
	}
	add(1)
	return func() { add(-1) }
}

// Apply takes a while, and invalidates what was seen.
func (f *followed) Apply(context.Context, lifecycle.Operation) (lifecycle.Outcome, error) {
	time.Sleep(f.accepted)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = nil
	return lifecycle.Accepted, nil
}

// waited is an answer, and how long it took.
type waited struct {
	status           int
	preferred, retry string
	body             string
	took             time.Duration
}

// waitingAPI serves a followed runtime without sockets, in a bubble of synctest.
func waitingAPI(t *testing.T, edit func(*routes.Wait)) (f *followed, call func(method, path string, headers ...string) <-chan waited) {
	f = &followed{runtime: &runtime{
		events: &events{}, reach: func(context.Context, lifecycle.Action) error { return nil },
	}, changed: make(chan struct{})}
	auth, err := middleware.NewAuthenticator(middleware.AuthConfig{Secrets: [][]byte{[]byte(secret)}})
	require.NoError(t, err)
	wait := &routes.Wait{
		Max: time.Minute, Waiters: 8, Estimate: func() (time.Duration, bool) { return 0, false },
		Superseded: func(lifecycle.Receipt, time.Time) bool { return false },
	}
	if edit != nil {
		edit(wait)
	}
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	routes.Mount(app, routes.Config{Backend: f, Auth: auth, Wait: wait})
	handler, bearer := app.Handler(), "Bearer "+token(account, "vm:read vm:write")
	return f, func(method, path string, headers ...string) <-chan waited {
		got := make(chan waited, 1)
		began := time.Now()
		go func() {
			request := fasthttp.AcquireRequest()
			request.Header.SetMethod(method)
			request.SetRequestURI("/api/v1/vm/" + path)
			request.Header.Set("Authorization", bearer)
			for i := 0; i < len(headers); i += 2 {
				request.Header.Add(headers[i], headers[i+1])
			}
			var ctx fasthttp.RequestCtx
			ctx.Init(request, nil, nil)
			handler(&ctx)
			header := &ctx.Response.Header
			got <- waited{ctx.Response.StatusCode(), string(header.Peek("Preference-Applied")), string(header.Peek("Retry-After")),
				string(ctx.Response.Body()), time.Since(began)}
		}()
		synctest.Wait()
		return got
	}
}

// A write that waits is answered by what is seen after its acceptance: at N or at the
// acceptance, whichever is later.
func TestWritesWait(t *testing.T) {
	const took = 3 * time.Second // to be accepted
	done := `{"accepted":true,"action":"start","status":{"state":"ready","provider":"fake"}}`
	failed := func(state string) waited {
		return waited{502, "wait=30", "", `{"error":{"type":"runtime_failed","message":"The runtime accepted the start, and has failed since: its state is ` + state + `.","outcome":"accepted"}}`, 0}
	}
	for name, c := range map[string]struct {
		prefer string
		states string // one a second from the request on, a letter each
		want   waited
		at     int // second
	}{
		"ready":                   {"30", "rsxxSSSr", waited{200, "wait=30", "", done, 0}, 8},
		"ready at once":           {"30", "ssxxr", waited{200, "wait=30", "", done, 0}, 5},
		"the time ends":           {"6", "ssxxSSSSr", waited{202, "wait=6", "5", `{"accepted":true,"action":"start"}`, 0}, 6},
		"accepted after its end":  {"1", "ssxx", waited{202, "wait=1", "5", `{"accepted":true,"action":"start"}`, 0}, 3},
		"failed after another":    {"30", "ffxxfSf", failed("failed"), 7},
		"an error after another":  {"30", "ffxxSSe", failed("error"), 7},
		"failed for ten seconds":  {"30", "ffxxffffffffff", failed("failed"), 14},
		"failed first, then well": {"30", "ffxxffffSSr", waited{200, "wait=30", "", done, 0}, 11},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, call := waitingAPI(t, nil)
				f.accepted = took
				got := call("POST", "start", "Prefer", "wait="+c.prefer)
				for i, letter := range c.states {
					time.Sleep(time.Second - time.Duration(i)) // acceptance and time come first
					if state := map[rune]string{'r': "ready", 's': "stopped", 'S': "starting", 'f': "failed", 'e': "error"}[letter]; state != "" && len(got) == 0 {
						f.say(state, "")
						synctest.Wait()
					}
				}
				reply := <-got
				assert.InDelta(t, c.at, reply.took.Seconds(), .001)
				c.want.took, reply.took = 0, 0
				assert.Equal(t, c.want, withoutRequestID(reply))
				assert.Zero(t, f.follows)
			})
		})
	}
}

func withoutRequestID(r waited) waited {
	var document map[string]map[string]string
	if json.Unmarshal([]byte(r.body), &document) == nil && document["error"] != nil {
		e := document["error"]
		r.body = fmt.Sprintf(`{"error":{"type":%q,"message":%q,"outcome":%q}}`, e["type"], e["message"], e["outcome"])
	}
	return r
}

// A change of the state ends a wait at once, one of the details no sooner than a
// second after it began; without a known tag it takes a status that has settled.
func TestStatusWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, call := waitingAPI(t, func(w *routes.Wait) {
			w.Estimate = func() (time.Duration, bool) { return 1100 * time.Millisecond, true }
		})
		f.say("starting", `{"percent":1}`)
		known := func() string { return string(f.seen.ETag) }
		body := func(n int) string {
			return fmt.Sprintf(`{"status":{"state":"starting","provider":"fake","details":{"percent":%d}}}`, n)
		}
		another := call("GET", "status", "Prefer", "wait=10", "If-None-Match", known())
		time.Sleep(200 * time.Millisecond)
		f.say("starting", `{"percent":2}`)
		assert.Equal(t, waited{200, "wait=10", "2", body(2), time.Second}, <-another)

		another = call("GET", "status", "Prefer", "wait=10", "If-None-Match", known())
		f.say("starting", `{"percent":3}`)
		synctest.Wait()
		f.say("starting", `{"percent":2}`)
		time.Sleep(5 * time.Second)
		f.say("starting", `{"percent":4}`)
		assert.Equal(t, waited{200, "wait=10", "2", body(4), 5 * time.Second}, <-another)

		another = call("GET", "status", "Prefer", "wait=10", "If-None-Match", known())
		time.Sleep(200 * time.Millisecond)
		settled := call("GET", "status", "Prefer", "wait=10")
		f.say("ready", "")
		const ready = `{"status":{"state":"ready","provider":"fake"}}`
		assert.Equal(t, waited{200, "wait=10", "", ready, 200 * time.Millisecond}, <-another)
		assert.Equal(t, waited{200, "wait=10", "", ready, 0}, <-settled)

		assert.Equal(t, waited{304, "wait=10", "", "", 10 * time.Second}, <-call("GET", "status", "Prefer", "wait=10", "If-None-Match", known()))
		f.say("stopping", "")
		const stopping = `{"status":{"state":"stopping","provider":"fake"}}`
		assert.Equal(t, waited{200, "wait=60", "2", stopping, time.Minute}, <-call("GET", "status", "Prefer", "wait=100"))
		assert.Equal(t, waited{200, "", "2", stopping, 0}, <-call("GET", "status", "Prefer", "wait=soon"))
	})
}

// The token's exp, the end of the server and a later opposite write end a wait.
func TestWaitsAreCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := make(chan struct{})
		f, call := waitingAPI(t, func(w *routes.Wait) { w.Over, w.Max = over, 2*time.Hour })
		f.say("starting", "")
		const accepted = `{"accepted":true,"action":"stop"}`
		got := <-call("POST", "stop", "Prefer", "wait=7200")
		assert.Equal(t, waited{202, "wait=7200", "5", accepted, time.Hour}, got, "the token is good for an hour")
		f.say("starting", "")

		var superseded atomic.Bool
		f, call = waitingAPI(t, func(w *routes.Wait) {
			w.Over = over
			w.Superseded = func(lifecycle.Receipt, time.Time) bool { return superseded.Load() }
		})
		f.say("starting", "")
		write := call("POST", "stop", "Prefer", "wait=50")
		time.Sleep(500 * time.Millisecond)
		superseded.Store(true) // is looked at each second, and with each status
		assert.Equal(t, waited{409, "wait=50", "", `{"error":{"type":"superseded","message":"The runtime accepted the stop, and a start after it.","outcome":"accepted"}}`, time.Second},
			withoutRequestID(<-write))

		superseded.Store(false)
		f.say("starting", "")
		status, write := call("GET", "status", "Prefer", "wait=50"), call("POST", "stop", "Prefer", "wait=50")
		f.say("starting", "")
		time.Sleep(time.Second)
		close(over)
		assert.Equal(t, waited{202, "wait=50", "5", accepted, time.Second}, <-write)
		assert.Equal(t, 200, (<-status).status)
	})
}
