package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/contract"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// provoke starts a gateway that answers an operation with the status of a case,
// and returns its address and the request that does. 500 is a bug of the
// gateway; the tests of the routes make one.
func provoke(t *testing.T, c contract.Case) (addr, raw string) {
	token := mint("vm:read vm:write")
	headers := map[int][]string{
		400: {"Content-Length: 2", "Content-Length: 3"},
		408: {"Content-Length: 2"}, // and no body
		413: {"Content-Length: 1000000"},
		431: {"X: " + strings.Repeat("x", 20<<10)},
	}[c.Status]
	setting := map[int]string{
		408: "BUS_VM_READ_TIMEOUT=100ms",
		429: "BUS_VM_WRITES_PER_SECOND=1", // the test asks again at once
		503: "BUS_VM_MAX_CONNECTIONS=1",
	}[c.Status]
	switch c.Status {
	case 200:
		headers = []string{"Prefer: wait=50"}
	case 304:
		headers = []string{"If-None-Match: *"}
	case 401:
		token = ""
	case 403:
		token = mint("x")
	case 404:
		c.Path += "/"
	case 405:
		c.Method = "DELETE"
	case 409: // the worker takes its time
		s := serveStack(t, "BUS_VM_TIMEOUT=10s")
		s.platform.VM.SetBehaviour(platform.Behaviour{Hold: 1 << 20})
		first := make(chan struct{})
		go func() { defer close(first); s.send(request(c.Method+" "+c.Path, token, idempotencyKey)) }()
		t.Cleanup(func() { s.platform.VM.SetBehaviour(); <-first })
		require.NoError(t, s.platform.VM.WaitAsked(t.Context(), map[string]string{startPath: platform.StartRequest, stopPath: platform.StopRequest}[c.Path], 1))
		return s.addr, request(c.Method+" "+c.Path, token, idempotencyKey)
	case 402, 502:
		s := serveStack(t, "BUS_VM_TIMEOUT=10s", "BUS_VM_STATUS_MAX_AGE=100ms")
		if c.Status == 502 {
			s.platform.VM.SetBehaviour(platform.Behaviour{Payload: json.RawMessage(`{"unexpected":true}`)})
		} else {
			s.platform.Billing.Decide("", platform.Decision{Command: "bus billing setup", PlanID: "gpu-small", Usage: map[string]any{"used": 7}})
		}
		return s.addr, request(c.Method+" "+c.Path, token)
	}
	g := serve(t, []string{setting})
	if c.Status == 200 && c.Path == eventsPath { // until it expires
		token = mintWith(fmt.Sprintf(`"exp":%d`, time.Now().Add(3*time.Second).Unix()))
	}
	if c.Status == 503 {
		dial(t, g.addr).send(request("GET /livez", "")).expect(t, "GET", okReady)
	}
	if c.Status == 422 {
		headers = []string{idempotencyKey}
		g.send(request("POST "+map[string]string{startPath: stopPath, stopPath: startPath}[c.Path], token, headers...))
	}
	if strings.Contains(c.Path, "{id}") && c.Status != 503 {
		location := replyTo(t, g.addr, request("POST "+startPath, mint("vm:write"))).Header.Get("Location")
		c.Path = location + strings.TrimPrefix(c.Path, "/api/v1/vm/operations/{id}")
	}
	raw = request(c.Method+" "+c.Path, token, headers...)
	if c.Status == 505 {
		raw = strings.Replace(raw, " HTTP/1.1\r\n", " HTTP/2.0\r\n", 1)
	}
	return g.addr, raw
}

const idempotencyKey = `Idempotency-Key: "8e03978e-40d5-43dd-bc93-6894a57f9324"`

// Every reply that the OpenAPI document describes comes about, and is what it
// says.
func TestEveryDocumentedReplyComesAbout(t *testing.T) {
	t.Parallel()
	cases, err := contract.Cases()
	require.NoError(t, err)
	require.Greater(t, len(cases), 50)
	for _, c := range cases {
		if c.Status == 500 {
			continue
		}
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			addr, raw := provoke(t, c)
			var got contract.Reply
			harness.Eventually(t, c.String(), func() bool {
				got = replyTo(t, addr, raw)
				return got.Status == c.Status
			})
			got.Method, got.Path = c.Method, c.Path
			require.NoError(t, contract.Check(got))
		})
	}
}

// replyTo sends one raw request and returns the reply as the document knows it.
func replyTo(t testing.TB, addr, raw string) contract.Reply {
	t.Helper()
	c := dial(t, addr).send(raw)
	defer c.Close()
	response, err := http.ReadResponse(c.reader, nil)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return contract.Reply{Status: response.StatusCode, Header: response.Header, Body: body}
}
