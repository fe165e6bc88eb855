//go:build !race

package server

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
	"github.com/busdk/bus-api-provider-vm/tests/wire"
)

// fasthttpByte is what fasthttp allocates to wait for a request: one byte.
const fasthttpByte = 1

// A status read with a remembered token allocates nothing else anywhere in the
// server, from the first byte read to the last one written, and neither does a
// refusal that needs no claims, whatever signed the token. The race detector allocates by itself, so it is
// left out.
func TestReadsAllocateNothing(t *testing.T) {
	server := start(t, nil, nil)
	claims := hostile.GoodClaims(time.Now())
	good := hostile.Sign(secret, hostile.DefaultHeader, claims.String())
	for name, c := range map[string]struct{ request, status string }{
		"live":              {getLive, "200"},
		"remembered":        {statusRequest(good), "200"},
		"remembered, ES256": {statusRequest(issuer[0].Token(claims)), "200"},
		"remembered, EdDSA": {statusRequest(issuer[1].Token(claims)), "200"},
		"unchanged":         {strings.Replace(statusRequest(good), "\r\n\r\n", "\r\nIf-None-Match: \"x\", W/*, *\r\nIf-None-Match: *\r\n\r\n", 1), "304"},
		"no token":          {statusRequest(""), "401"},
		"forged":            {statusRequest(hostile.Sign("another secret of thirty-two bytes", hostile.DefaultHeader, claims.String())), "401"},
		"no scope":          {statusRequest(hostile.Sign(secret, hostile.DefaultHeader, claims.Set("scope", `"vm:write"`).String())), "403"},
	} {
		t.Run(name, func(t *testing.T) {
			connection, answers := wire.Dial(t, server.Addr()), make([]byte, 4<<10)
			ask := func(request []byte, status string) {
				_, sent := connection.Write(request)
				n, err := connection.Read(answers)
				if sent != nil || err != nil || string(answers[len("HTTP/1.1 "):len("HTTP/1.1 200")]) != status {
					t.Errorf("%v, %v, %q", sent, err, answers[:n])
				}
			}
			ask([]byte(statusRequest(good)), "200") // the header of a good token is known from here on
			request := []byte(c.request)
			for range 10 {
				ask(request, c.status) // fills the cache and the pools
			}
			assert.LessOrEqual(t, testing.AllocsPerRun(1000, func() { ask(request, c.status) }), float64(fasthttpByte))
		})
	}
}

// A caller without a token costs at most eight times as much as the cheapest refusal,
// whatever it sends. Of several measurements the least counts: other work only adds.
func TestRefusalsCostLittle(t *testing.T) {
	const rounds, requests, times = 20, 300, 8
	least := map[string]time.Duration{}
	for name, request := range refusedRequests() {
		server := prepare(t, nil, nil)
		least[name] = processorTime(server, request, requests)
		for range rounds {
			least[name] = min(least[name], processorTime(server, request, requests))
		}
	}
	cheapest := slices.Min(slices.Collect(maps.Values(least)))
	for name, cost := range least {
		t.Logf("%-26s %6s  %.1f", name, cost/requests, float64(cost)/float64(cheapest))
		assert.LessOrEqual(t, cost, times*cheapest, name)
	}
}
