package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/contract"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// way makes a gateway answer the operation in a case with the status of the
// case, and returns the address and the request that does.
type way func(t *testing.T, c contract.Case) (addr, raw string)

// ways are how each documented status comes about. 500 is a bug of the gateway;
// the tests of the routes make one.
var ways = map[int]way{
	200: plainly,
	202: plainly,
	400: func(t *testing.T, c contract.Case) (string, string) {
		return serve(t, nil).addr, request(line(c), mint("vm:read vm:write"), "Content-Length: 2", "Content-Length: 3") + "{}"
	},
	401: func(t *testing.T, c contract.Case) (string, string) { return serve(t, nil).addr, request(line(c), "") },
	402: denied,
	403: func(t *testing.T, c contract.Case) (string, string) {
		return serve(t, nil).addr, request(line(c), mint("x"))
	},
	404: func(t *testing.T, c contract.Case) (string, string) {
		c.Path += "/"
		return serve(t, nil).addr, request(line(c), mint("vm:read vm:write"))
	},
	405: func(t *testing.T, c contract.Case) (string, string) {
		c.Method = "DELETE"
		return serve(t, nil).addr, request(line(c), mint("vm:read vm:write"))
	},
	408: func(t *testing.T, c contract.Case) (string, string) {
		return serve(t, []string{"BUS_VM_READ_TIMEOUT=100ms"}).addr, request(line(c), mint("vm:read vm:write"), "Content-Length: 2")
	},
	413: func(t *testing.T, c contract.Case) (string, string) {
		return serve(t, nil).addr, request(line(c), mint("vm:read vm:write"), "Content-Length: 1000000")
	},
	429: tooSoon,
	431: func(t *testing.T, c contract.Case) (string, string) {
		return serve(t, nil).addr, request(line(c), mint("vm:read vm:write"), "X: "+strings.Repeat("x", 20<<10))
	},
	502: misunderstood,
	503: crowded,
}

func line(c contract.Case) string { return c.Method + " " + c.Path }

func plainly(t *testing.T, c contract.Case) (addr, raw string) {
	return serve(t, nil).addr, request(line(c), mint("vm:read vm:write"))
}

func denied(t *testing.T, c contract.Case) (addr, raw string) {
	s := serveStack(t, "BUS_VM_TIMEOUT=10s")
	s.platform.Billing.Decide("", platform.Decision{Command: "bus billing setup", PlanID: "gpu-small", Usage: map[string]any{"used": 7}})
	return s.addr, request(line(c), mint("vm:read vm:write"))
}

// tooSoon leaves it to the test to ask again at once.
func tooSoon(t *testing.T, c contract.Case) (addr, raw string) {
	return serve(t, []string{"BUS_VM_WRITES_PER_SECOND=1"}).addr, request(line(c), mint("vm:read vm:write"))
}

func misunderstood(t *testing.T, c contract.Case) (addr, raw string) {
	s := serveStack(t, "BUS_VM_TIMEOUT=10s", "BUS_VM_STATUS_MAX_AGE=100ms")
	s.platform.VM.SetBehaviour(platform.Behaviour{Payload: json.RawMessage(`{"nonsense":true}`)})
	return s.addr, request(line(c), mint("vm:read vm:write"))
}

// crowded has one connection too many.
func crowded(t *testing.T, c contract.Case) (addr, raw string) {
	g := serve(t, []string{"BUS_VM_MAX_CONNECTIONS=1"})
	dial(t, g.addr).send(request("GET /livez", "")).expect(t, "GET", okReady)
	return g.addr, request(line(c), mint("vm:read vm:write"))
}

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
			require.Contains(t, ways, c.Status, "no test makes such a reply")
			addr, raw := ways[c.Status](t, c)
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
