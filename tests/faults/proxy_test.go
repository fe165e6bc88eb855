package faults

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

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
