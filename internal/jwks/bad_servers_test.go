package jwks

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// Whatever a server does instead of answering well, the last good keys stay,
// the log says so once, and the next good answer is taken.
func TestBadServers(t *testing.T) {
	const short = time.Second // the waitLimit with servers that stall
	good, other := hostile.NewSigner(EdDSA, "good"), hostile.NewSigner(EdDSA, "other")
	wanted := document(hostile.JWKS(other.JWK()))
	elsewhere := publish(t, httptest.NewServer, wanted)
	t.Cleanup(func() { assert.Zero(t, elsewhere.asked.Load(), "it was followed elsewhere") })
	for name, tc := range map[string]struct {
		answer  http.HandlerFunc
		want    string
		timeout time.Duration
	}{
		"500":                 {status(500), "the server answered with status 500", waitLimit},
		"204":                 {status(204), "the server answered with status 204", waitLimit},
		"404":                 {status(404), "the server answered with status 404", waitLimit},
		"304":                 {status(304), "the server answered with status 304", waitLimit},
		"a partial document":  {status(206), "the server answered with status 206", waitLimit},
		"garbage":             {document("<html>sorry</html>"), errNotJSON.Error(), waitLimit},
		"half a document":     {document(`{"keys":[`), errNotJSON.Error(), waitLimit},
		"no keys":             {document(hostile.JWKS()), errNoneUsable.Error(), waitLimit},
		"a secret":            {document(`{"keys":[{"kty":"oct","k":"aHVudGVyMg"}]}`), errSymmetric.Error(), waitLimit},
		"huge":                {document(strings.Repeat(" ", maxDocument+1) + hostile.JWKS(other.JWK())), errTooLarge.Error(), waitLimit},
		"endless":             {endless, errTooLarge.Error(), waitLimit},
		"a huge header":       {document(hostile.JWKS(other.JWK()), "X: "+strings.Repeat("x", 2*maxHeader)), "server response headers exceeded", waitLimit},
		"a truncated body":    {document(hostile.JWKS(other.JWK()), "Content-Length: 9999"), "unexpected EOF", waitLimit},
		"silence":             {silent, "Client.Timeout exceeded while awaiting headers", short},
		"a body that stalls":  {stalling, "Client.Timeout or context cancellation while reading body", short},
		"a closed connection": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF", waitLimit},
		"a redirection":       {redirect(elsewhere.URL), "the server answered with status 302", waitLimit},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := publish(t, httptest.NewServer, document(hostile.JWKS(good.JWK())))
			f := newFetcher(t, p.URL+"/secret-path")
			f.client = &http.Client{Timeout: tc.timeout, Transport: Client.Transport, CheckRedirect: Client.CheckRedirect}
			f.during(t, func() {
				assert.Contains(t, harness.Next(t, f.lines), `keys="[good (EdDSA)]"`)
				p.now(tc.answer)
				f.Refresh()
				line := harness.Next(t, f.lines)
				assert.Contains(t, line, `level=WARN msg="fetching public keys failed; the last good ones stay in force" cause=`)
				assert.Contains(t, line, tc.want)
				f.Refresh()
				assert.Contains(t, harness.Next(t, f.lines), `level=DEBUG msg="fetching public keys failed again"`)
				require.NoError(t, f.Ready())
				assert.NotNil(t, f.current.Load().Find(EdDSA, "good"))
				p.now(wanted)
				f.Refresh()
				assert.Contains(t, harness.Next(t, f.lines), `keys="[other (EdDSA)]"`)
				assert.Equal(t, `level=INFO msg="fetching public keys works again" failures=2`, harness.Next(t, f.lines))
				assert.NotContains(t, line, "secret-path")
				assert.NotContains(t, line, "aHVudGVyMg")
			})
			assert.Contains(t, f.scrape(), "bus_vm_jwks_fetches_total{result=\"failed\"} 2\n")
		})
	}
}

// Run ends at once, also in the middle of a fetch.
func TestRunEndsDuringAFetch(t *testing.T) {
	p := publish(t, httptest.NewServer, nil)
	arrived := make(chan struct{}, 1)
	p.now(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		silent(w, r)
	})
	f := newFetcher(t, p.URL)
	f.during(t, func() { harness.Next(t, arrived) })
	assert.Empty(t, f.lines, "ending is no failure")
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	}
}

// silent answers nothing until the client has given up.
func silent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func stalling(w http.ResponseWriter, r *http.Request) {
	_, _ = w.Write([]byte(`{"keys":`))
	_ = http.NewResponseController(w).Flush()
	silent(w, r)
}

func endless(w http.ResponseWriter, _ *http.Request) {
	for {
		if _, err := w.Write(make([]byte, 32<<10)); err != nil {
			return
		}
	}
}
