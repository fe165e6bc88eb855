package routes_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

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
	require.Equal(t, 6, made)
}
