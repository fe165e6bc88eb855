package routes_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/routes"
)

const (
	unauthorized = "Www-Authenticate: Bearer realm=\"bus-vm\"\n"
	invalidToken = "Www-Authenticate: Bearer realm=\"bus-vm\", error=\"invalid_token\"\n"
)

var (
	started  = answered("202 Accepted", "", `{"accepted":true,"action":"start"}`)
	recorded = answered("202 Accepted", location, `{"accepted":true,"action":"start"}`)
	live     = answered("200 OK", "", `{"ok":true}`)
	state    = answered("200 OK", "", `{"status":{"state":"ready","provider":"fake"}}`)
	notFound = refused("404 Not Found", "", "not_found", "There is nothing at this path.")
	missing  = refused("401 Unauthorized", unauthorized, "invalid_auth", "Send a bearer token: Authorization: Bearer <jwt>.")
	invalid  = refused("401 Unauthorized", invalidToken, "invalid_auth", "The bearer token is not valid for this API.")
	badBody  = refused("400 Bad Request", "", "bad_request", "This request takes no parameters: send no body, or an empty JSON object.")
)

func noScope(scope string) string {
	return refused("403 Forbidden",
		"Www-Authenticate: Bearer realm=\"bus-vm\", error=\"insufficient_scope\", scope=\""+scope+"\"\n",
		"insufficient_access", "The token lacks the scope "+scope+".")
}

// What a backend returns, callers read: its own errors as they are, any other
// as a 500 that says nothing.
func TestBackendErrors(t *testing.T) {
	w := serve(t, nil)
	canary := errors.New("canary")
	const internal = "The server failed to answer this request."
	for _, c := range []struct {
		name    string
		outcome lifecycle.Outcome
		err     error
		status  string
		headers string
		kind    string
		message string
	}{
		{"unavailable", lifecycle.NotSent, away("No answer.", canary), "503 Service Unavailable", "Retry-After: 5\n", "backend_unavailable", "No answer."},
		{"no reply", lifecycle.Unknown, away("No answer.", canary), "503 Service Unavailable", "Retry-After: 5\n", "backend_unavailable", "No answer."},
		{"malformed", lifecycle.Unknown, malformed("Malformed."), "502 Bad Gateway", "", "bad_gateway", "Malformed."},
		{"an integration's own", lifecycle.Rejected, rejection("no_capacity", "No room.", canary), "502 Bad Gateway", "", "no_capacity", "No room."},
		{"any other", lifecycle.Unknown, canary, "500 Internal Server Error", "", "internal_error", internal},
		{"a deadline", lifecycle.Unknown, context.DeadlineExceeded, "500 Internal Server Error", "", "internal_error", internal},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.runtime.status = func(context.Context) ([]byte, error) { return nil, c.err }
			w.runtime.apply = ends(c.outcome, c.err)
			read := refused(c.status, c.headers, c.kind, c.message)
			write := failed(c.outcome, c.status, c.headers, c.kind, c.message)
			assert.Equal(t, read, w.call(t, "GET", "/api/v1/vm/status", both(), ""))
			assert.Equal(t, headOf(read), w.call(t, "HEAD", "/api/v1/vm/status", both(), ""))
			assert.Equal(t, write, w.call(t, "POST", "/api/v1/vm/start", both(), ""))
			assert.Equal(t, write, w.call(t, "POST", "/api/v1/vm/stop", both(), ""))
		})
	}
}

// A backend that panics, or says one thing with its outcome and another with its
// error, has carried out the operation or not: its end stays open for a reply.
func TestBuggyBackend(t *testing.T) {
	w := serve(t, withUsage)
	want := failed(lifecycle.Unknown, "500 Internal Server Error", location, "internal_error", "The server failed to answer this request.")
	for _, apply := range []func(context.Context, lifecycle.Operation) (lifecycle.Outcome, error){
		ends(lifecycle.Accepted, errors.New("canary")), ends(lifecycle.Rejected, nil), ends("", nil), panics, panics,
	} {
		w.runtime.apply = apply
		assert.Equal(t, want, w.call(t, "POST", "/api/v1/vm/start", both(), ""))
		assert.Equal(t, []string{"requested start", "apply start", "ended unknown"}, w.take())
	}
}

// /readyz says why not; /livez does not care.
func TestReadiness(t *testing.T) {
	var reason error
	w := serve(t, func(_ *world, c *routes.Config) { c.Ready = func() error { return reason } })
	assert.Equal(t, live, w.call(t, "GET", "/readyz", "", ""))
	reason = errors.New(`stream "x" is down`)
	want := refused("503 Service Unavailable", "Retry-After: 1\n", "backend_unavailable", `Not ready: stream \"x\" is down.`)
	assert.Equal(t, want, w.call(t, "GET", "/readyz", "", ""))
	assert.Equal(t, headOf(want), w.call(t, "HEAD", "/readyz", "", ""))
	assert.Equal(t, live, w.call(t, "GET", "/livez", "", ""))
	assert.Equal(t, state, w.call(t, "GET", "/api/v1/vm/status", both(), ""), "a gateway that is not ready still answers")
	reason = nil
	assert.Equal(t, live, w.call(t, "GET", "/readyz", "", ""))
	assert.Equal(t, []string{"status"}, w.take())
}
