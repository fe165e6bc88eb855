package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/hostile"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// closing is a reply after which the gateway ends the connection.
func closing(reply string) string {
	return strings.Replace(reply, "\nContent-Type:", "\nConnection: close\nContent-Type:", 1)
}

var (
	tooLarge = closing(refusal("413 Request Entity Too Large", "request_body_too_large", "The request body is too large.", ""))
	tooSlow  = closing(refusal("408 Request Timeout", "request_timeout", "The request did not arrive in time.", ""))
)

// The shared table of requests, with the bad ones that may have a body armed: they
// ask for a stop and carry a good token, so only the HTTP is wrong with them.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	g := serve(t, nil)
	token := mint("vm:read vm:write")
	arm := strings.NewReplacer("POST /livez HTTP/1.1\r\n", "POST "+stopPath+" HTTP/1.1\r\nAuthorization: Bearer "+token+"\r\n")
	for _, r := range hostile.Requests() {
		method := map[bool]string{true: "HEAD", false: "GET"}[r.Head()]
		c := dial(t, g.addr).send(arm.Replace(r.Raw))
		got, err := c.reply(method)
		if strings.HasPrefix(got, "100 Continue\n") {
			got, err = c.reply(method)
		}
		require.NoError(t, err, r.Name)
		require.True(t, strings.HasPrefix(got, strconv.Itoa(r.Status)+" "), "%s: want %d, got %s", r.Name, r.Status, got)
		require.Equal(t, r.Type() != "" && !r.Head(), strings.Contains(got, "\n\n"+`{"error":{"type":"`+r.Type()+`","message":"`), "%s: %s", r.Name, got)
		require.NotContains(t, got, hostile.Canary, r.Name)
		require.Equal(t, r.Kept, !strings.Contains(got, "\nConnection: close\n"), "%s: %s", r.Name, got)
		if r.Kept {
			c.send(request("GET /readyz", "")).expect(t, "GET", okReady, r.Name)
		} else {
			c.closes(t, r.Name)
		}
		_ = c.Close()
	}
	require.Equal(t, okStatus, ask(t, g.addr, request("GET "+statusPath, token)), "none of them stopped the runtime")
}

// A client that asks before it sends a body hears twice.
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	g := serve(t, nil)
	for body, want := range map[string]string{"{}": okStart, "x": wantsNoBody, strings.Repeat("x", 1<<20): tooLarge} {
		c := dial(t, g.addr)
		c.send(request("POST "+startPath, mint("vm:write"), contentLength(body), "Expect: 100-continue"))
		c.expect(t, "POST", "100 Continue\n\n\n")
		c.send(body).expect(t, "POST", want)
	}
}

// Broken clients are told so once the time for a request is over, however
// busily they send.
func TestSlowAndSilentClients(t *testing.T) {
	t.Parallel()
	const limit = 300 * time.Millisecond
	g := serve(t, []string{"BUS_VM_READ_TIMEOUT=" + limit.String(), "BUS_VM_IDLE_TIMEOUT=" + limit.String()})
	token := mint("vm:write")
	for name, start := range map[string]string{
		"silent":         "",
		"slow line":      "GET /rea",
		"slow header":    "GET /readyz HTTP/1.1\r\nHost: vm.test\r\nX: ",
		"slow body":      request("POST "+stopPath, token, "Content-Length: 1000") + "{",
		"slow extension": request("POST "+stopPath, token, "Transfer-Encoding: chunked") + "2;a=",
		"slow chunk":     request("POST "+stopPath, token, "Transfer-Encoding: chunked") + "40\r\n{",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, g.addr).send(start)
			began := time.Now()
			ctx, stop := context.WithCancel(t.Context())
			var drip sync.WaitGroup
			if start != "" {
				drip.Go(func() { harness.Every(ctx, limit/10, func() { c.send("x") }) })
			}
			c.expect(t, "GET", tooSlow)
			stop()
			drip.Wait()
			require.GreaterOrEqual(t, time.Since(began), limit*9/10)
			require.Less(t, time.Since(began), limit+5*time.Second)
		})
	}
	t.Run("idle after a request", func(t *testing.T) {
		t.Parallel()
		c := dial(t, g.addr).send(request("GET /readyz", ""))
		c.expect(t, "GET", okReady)
		c.closes(t)
	})
}

// The limits of contract and settings answer as callers need it: 429 to one
// subject that is too fast, 503 to all while too much is under way, both with
// Retry-After; reads are never in question.
var (
	tooFast = notSent("429 Too Many Requests", "too_many_requests", "This account acts too often.", "Retry-After: 1")
	tooMany = notSent("503 Service Unavailable", "backend_unavailable", "Too many operations are under way.", "Retry-After: 1")
)

func TestWritesPerSecond(t *testing.T) {
	t.Parallel()
	g := serve(t, []string{"BUS_VM_WRITES_PER_SECOND=1"})
	write := mint("vm:read vm:write")
	other := mintWith(`"sub":"00000000-0000-4000-8000-00000000000a"`)
	harness.Eventually(t, "two writes within a second", func() bool {
		first, second := ask(t, g.addr, request("POST "+startPath, write)), ask(t, g.addr, request("POST "+stopPath, write))
		require.Contains(t, []string{okStart, tooFast}, first)
		require.Contains(t, []string{okStop, tooFast}, second)
		return second == tooFast
	})
	require.Equal(t, okStart, ask(t, g.addr, request("POST "+startPath, other)), "another subject")
	for range 20 {
		require.Equal(t, okStatus, ask(t, g.addr, request("GET "+statusPath, write)))
	}
	// What is wrong with a write is said before its pace.
	require.Equal(t, wantsNoBody, ask(t, g.addr, withBody("POST "+startPath, write, "x")))
}

// Starts of one account that hang take neither another account's places nor those
// of stops, its own included; and while accounts together take all that starts
// may, a stop still gets through.
func TestWritesInFlightAreShared(t *testing.T) {
	t.Parallel()
	const limit, hanging = 64, 70
	s := serveStack(t, "BUS_VM_WRITES_IN_FLIGHT="+strconv.Itoa(limit), "BUS_VM_TIMEOUT=1m")
	s.platform.VM.SetBehaviour(platform.Behaviour{Names: []string{platform.StartRequest}, Hold: limit})
	account := func(i int) string { return mintWith(fmt.Sprintf(`"sub":"00000000-0000-4000-8000-0000000000a%d"`, i)) }
	replies := make(chan string, 2*hanging)
	started := func(token string, starts, admitted int) {
		for range starts {
			go func() { replies <- ask(t, s.addr, request("POST "+startPath, token)) }()
		}
		for range starts - admitted {
			require.Equal(t, tooMany, <-replies)
		}
	}
	started(account(0), hanging, limit*3/4)
	require.Equal(t, okStop, ask(t, s.addr, request("POST "+stopPath, account(1))))
	require.Equal(t, okStop, ask(t, s.addr, request("POST "+stopPath, account(0))), "its own")
	require.Contains(t, ask(t, s.addr, request("GET "+statusPath, account(0))), "200 OK", "reads are never in question")
	started(account(1), hanging/7, limit/8)
	started(account(2), 1, 0)
	for i := range 4 {
		require.Equal(t, okStop, ask(t, s.addr, request("POST "+stopPath, account(i))))
	}
	harness.Eventually(t, "the held writes are answered", func() bool {
		s.platform.VM.Release()
		return len(replies) == limit*7/8
	})
	for range limit * 7 / 8 {
		require.Equal(t, okStart, <-replies)
	}
}
