package faults

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// Events is reached through the proxy that the environment names, streams and
// publishes alike; and since its URL leads away from this machine in clear, the
// log warns of that.
func TestEventsThroughAProxy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	events, err := url.Parse(r.URL())
	must(t, err)
	var publishes, streams atomic.Int64
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		FlushInterval: -1, // streams
		Rewrite: func(p *httputil.ProxyRequest) {
			if p.In.URL.Host != "events.test" {
				t.Errorf("the proxy is asked for %s", p.In.URL)
			}
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
	g.awaitMetric("bus_vm_outbox_records", zero)
	if streams.Load() < int64(len(requests)) || publishes.Load() < 5 {
		t.Errorf("%d streams and %d publishes went through the proxy", streams.Load(), publishes.Load())
	}
	if !strings.Contains(g.log.String(), "events.url is plain http to events.test") {
		t.Errorf("no warning:\n%s", tail(g.log.String()))
	}
	g.stop()
	g.wait()
}
