package faults

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// between is a rig whose publishes of name meddle answers.
type between struct {
	*rig
	hits atomic.Int64 // publishes of name
}

// pass carries the publish out, as the API does, and returns its status.
type pass func() int

func newBetween(t *testing.T, name string, meddle func(n int64, w http.ResponseWriter, pass pass)) *between {
	b := &between{}
	b.rig = newRigOf(t, platform.Config{Seed: 1, Wrap: func(api http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			body, err := io.ReadAll(q.Body)
			if err != nil {
				return
			}
			q.Body = io.NopCloser(bytes.NewReader(body))
			var m struct{ Name string }
			if json.Unmarshal(body, &m) != nil || m.Name != name {
				api.ServeHTTP(w, q)
				return
			}
			meddle(b.hits.Add(1), w, func() int {
				answer := httptest.NewRecorder()
				api.ServeHTTP(answer, q)
				return answer.Code
			})
		})
	}})
	return b
}

func rawAnswer(w http.ResponseWriter, text string, hold time.Duration) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, text)
	if hold > 0 {
		conn.SetReadDeadline(time.Now().Add(hold))
		bufio.NewReader(conn).ReadByte()
	}
}

// Events is reached through the proxy that the environment names, streams and
// publishes alike; and since its URL leads away from this machine in clear, the
// log warns of that.
func TestEventsThroughAProxy(t *testing.T) {
	r := newRig(t)
	events, err := url.Parse(r.URL())
	require.NoError(t, err)
	var publishes, streams atomic.Int64
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		FlushInterval: -1, // streams
		Rewrite: func(p *httputil.ProxyRequest) {
			assert.Equal(t, "events.test", p.In.URL.Host)
			counter := &streams
			if p.In.Method == http.MethodPost {
				counter = &publishes
			}
			counter.Add(1)
			p.SetURL(&url.URL{Scheme: events.Scheme, Host: events.Host})
		},
	})
	t.Cleanup(proxy.Close)
	g := r.begin(process, r.home(), "BUS_EVENTS_API_URL=http://events.test", "HTTP_PROXY="+proxy.URL, "NO_PROXY=")
	r.connected()
	r.wantWrite(g, start, http.StatusAccepted, "")
	r.want(r.read(g), http.StatusOK, "")
	g.awaitDelivered()
	assert.GreaterOrEqual(t, streams.Load(), int64(len(requests)))
	assert.GreaterOrEqual(t, publishes.Load(), int64(5))
	g.wantLog("events.url is plain http to events.test")
	g.stop()
}
