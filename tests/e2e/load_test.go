package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// exchange is one request and the replies that are right for it.
type exchange struct {
	raw  string
	want []string
}

// hammer lets each of a number of clients make the exchanges that next has for
// it, one after the other on a connection that it replaces after so many of them.
// It returns the first wrong answer of each client that got one.
func hammer(addr string, clients, perConnection int, next func(client, i int) (x exchange, more bool)) error {
	failures := make([]error, clients)
	one := func(client int) (err error) {
		var c *connection
		for i := 0; ; i++ {
			x, more := next(client, i)
			if c != nil && (!more || i%perConnection == 0) {
				_ = c.Close()
				c = nil
			}
			if !more {
				return nil
			}
			if c == nil {
				if c, err = dialTo(addr); err != nil {
					return err
				}
			}
			_ = c.SetDeadline(time.Now().Add(harness.WaitLimit))
			got, err := c.send(x.raw).reply(strings.SplitN(x.raw, " ", 2)[0])
			if err != nil || !slices.Contains(x.want, carried(got)) {
				_ = c.Close()
				return fmt.Errorf("client %d, request %d: %w, %q", client, i, err, got)
			}
		}
	}
	var group sync.WaitGroup
	for client := range clients {
		group.Go(func() { failures[client] = one(client) })
	}
	group.Wait()
	return errors.Join(failures...)
}

// kept is how many exchanges a connection carries where it should be kept.
const kept = 25

// calls are reads, each before a start or a stop.
func calls() []exchange {
	token := mint("vm:read vm:write")
	read := exchange{request("GET "+statusPath, token), []string{okStatus, okStopped}}
	return []exchange{
		read, {request("POST "+startPath, token), []string{okStart}},
		read, {withBody("POST "+stopPath, token, "{}"), []string{okStop}},
	}
}

// startLoad makes the exchanges at addr in turn and at a steady rate until stop is
// called, which returns what went wrong; served counts the requests.
func startLoad(addr string, perConnection int, exchanges ...exchange) (served func() int64, stop func() error) {
	const clients, every = 8, 500 * time.Microsecond
	var count atomic.Int64
	rate := time.NewTicker(every)
	ended := make(chan struct{})
	result := make(chan error, 1)
	go func() {
		result <- hammer(addr, clients, perConnection, func(client, i int) (exchange, bool) {
			select {
			case <-rate.C:
				count.Add(1)
				return exchanges[(client+i)%len(exchanges)], true
			case <-ended:
				return exchange{}, false
			}
		})
	}()
	return count.Load, func() error {
		close(ended)
		defer rate.Stop()
		return <-result
	}
}

// Two instances restart one after the other, again and again, under a steady
// load of reads and writes through nginx, and no request fails.
func TestRestartsThroughNginxFailNothing(t *testing.T) {
	for name, addrs := range map[string][2]string{
		// Addresses of their own: short connections of other tests to 127.0.0.1
		// could take the port of an instance while it restarts.
		"TCP":  {"127.0.0.2:0", "127.0.0.3:0"},
		"unix": {t.TempDir() + "/a.sock", t.TempDir() + "/b.sock"},
	} {
		t.Run(name, func(t *testing.T) {
			const rounds = 3
			begin := func(addr string) *gateway {
				if strings.HasPrefix(addr, "/") {
					addr = "unix:" + addr
				}
				return serve(t, []string{"BUS_VM_LOG_LEVEL=info"}, "--addr", addr, "--shutdown-delay", "100ms")
			}
			instances := []*gateway{begin(addrs[0]), begin(addrs[1])}
			served, stopLoad := startLoad(startNginx(t, instances[0].addr, instances[1].addr), kept, calls()...)
			for round := 0; round < rounds || served() < 500 && round < 10*rounds; round++ { // a busy machine serves fewer in a round
				for i, old := range instances {
					old.stop(t)
					instances[i] = begin(old.addr)
				}
			}
			require.NoError(t, stopLoad())
			t.Logf("%d requests", served())
			require.GreaterOrEqual(t, served(), int64(500))
		})
	}
}
