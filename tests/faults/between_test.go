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
)

// between is a rig with a proxy in front of the Events API: meddle answers
// publishes of name, everything else passes.
type between struct {
	*rig
	hits atomic.Int64 // publishes of name
}

// pass carries the publish out, as the API does, and returns its status.
type pass func() int

func newBetween(t *testing.T, name string, meddle func(n int64, w http.ResponseWriter, pass pass)) *between {
	b := &between{}
	through := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			u, err := url.Parse(b.URL())
			assert.NoError(t, err)
			p.SetURL(u)
		},
		FlushInterval: -1, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(502) },
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return
		}
		q.Body = io.NopCloser(bytes.NewReader(body))
		var m struct{ Name string }
		if json.Unmarshal(body, &m) != nil || m.Name != name {
			through.ServeHTTP(w, q)
			return
		}
		meddle(b.hits.Add(1), w, func() int {
			again, _ := http.NewRequest(http.MethodPost, b.URL()+q.URL.Path, bytes.NewReader(body))
			again.Header = q.Header.Clone()
			reply, err := http.DefaultClient.Do(again)
			if err != nil {
				return 0
			}
			io.Copy(io.Discard, reply.Body)
			reply.Body.Close()
			return reply.StatusCode
		})
	}))
	t.Cleanup(func() { proxy.CloseClientConnections(); proxy.Close() }) // after the rig is done with it
	b.rig = newRig(t)
	b.common = []string{"BUS_EVENTS_API_URL=" + proxy.URL}
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
