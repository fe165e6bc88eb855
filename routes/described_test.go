package routes_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/feed"
	"github.com/busdk/bus-api-provider-vm/routes"
	"github.com/busdk/bus-api-provider-vm/tests/contract"
	"github.com/busdk/bus-api-provider-vm/tests/wire"
)

// A bug behind an operation is the 500 of the OpenAPI document. All other
// replies of the document are made by the tests that drive the whole gateway.
func TestDescribedBugs(t *testing.T) {
	w := serve(t, func(w *world, c *routes.Config) {
		c.Ready = func() error { panic("canary") }
		c.Operations = w.records // which cannot be read
		c.Feed, c.Streams = feed.New(feed.Config{Runtime: w.runtime, Metrics: metrics.NewSet()}), 1
	})
	w.runtime.status = func(context.Context) ([]byte, error) { panic("canary") }
	w.runtime.apply = panics
	cases, err := contract.Cases()
	require.NoError(t, err)
	made := 0
	for _, c := range cases {
		if c.Status != http.StatusInternalServerError {
			continue
		}
		raw := wire.Exchange(t, w.addr, c.Method+" "+strings.Replace(c.Path, "{id}", account, 1)+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"+both()+"\r\n")
		response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)), nil)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.Equal(t, c.Status, response.StatusCode, c.String())
		require.NoError(t, contract.Check(contract.Reply{
			Method: c.Method, Path: c.Path, Status: response.StatusCode, Header: response.Header, Body: body,
		}))
		made++
	}
	require.Equal(t, 7, made)
}

// A stream that does not begin takes no place.
func TestEventsCannotBeRead(t *testing.T) {
	panics := false
	w := serve(t, func(_ *world, c *routes.Config) {
		c.Streams, c.Feed = 1, feed.New(feed.Config{Runtime: c.Backend, Metrics: metrics.NewSet(), Recent: func(context.Context, feed.Reader) ([]feed.Operation, error) {
			if panics {
				panic("canary")
			}
			return nil, errors.New("canary")
		}})
	})
	for i := range 4 {
		panics = i%2 == 1
		want := refused("503 Service Unavailable", "Retry-After: 5\n", "backend_unavailable", "What changed since that event cannot be read now.")
		if panics {
			want = refused("500 Internal Server Error", "", "internal_error", "The server failed to answer this request.")
		}
		require.Equal(t, want, w.call(t, "GET", routes.EventsPath, both()+"Last-Event-ID: x\r\n", ""))
	}
	none := serve(t, nil)
	require.Contains(t, none.call(t, "GET", routes.EventsPath, both(), ""), "404 Not Found")
	require.Contains(t, none.call(t, "POST", routes.EventsPath, both(), ""), "404 Not Found")
}
