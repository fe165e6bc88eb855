package e2e

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

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
			served, stopLoad := startLoad(startNginx(t, instances[0].addr, instances[1].addr), kept)
			for range rounds {
				for i, old := range instances {
					old.stop(t)
					instances[i] = begin(old.addr)
				}
			}
			require.NoError(t, stopLoad())
			t.Logf("%d requests", served())
			require.Greater(t, served(), int64(500))
		})
	}
}

// startLoad asks at addr at a steady rate until stop is called, which returns
// what went wrong; served counts the requests.
func startLoad(addr string, perConnection int) (served func() int64, stop func() error) {
	const clients, every = 8, 500 * time.Microsecond
	token := mint("vm:read vm:write")
	read := exchange{request("GET "+statusPath, token), []string{okStatus, okStopped}}
	start := exchange{request("POST "+startPath, token), []string{okStart}}
	halt := exchange{withBody("POST "+stopPath, token, "{}"), []string{okStop}}

	var count atomic.Int64
	rate := time.NewTicker(every)
	ended := make(chan struct{})
	result := make(chan error, 1)
	go func() {
		result <- hammer(addr, clients, perConnection, func(client, i int) (exchange, bool) {
			select {
			case <-rate.C:
				count.Add(1)
				return [...]exchange{read, start, read, halt}[(client+i)%4], true
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
