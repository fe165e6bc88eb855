package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// slowConnections is how many the tests below hold at once.
const slowConnections = 100

// besiege runs Debian's slowhttptest against a gateway with short time-outs
// while an honest caller goes on; what happens meanwhile is up to during. The
// honest caller must not notice anything.
func besiege(t *testing.T, during func(tool *process, admin string), path string, flags ...string) {
	needs(t, "slowhttptest")
	g, admin := serveAdmin(t, []string{"BUS_VM_READ_TIMEOUT=2s", "BUS_VM_IDLE_TIMEOUT=2s", "BUS_VM_LOG_LEVEL=info"})
	tool, err := exec.LookPath("slowhttptest")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var caller sync.WaitGroup
	var wrong []string
	caller.Go(func() {
		every(ctx, calm, func() {
			if got := ask(t, g.addr, request("GET "+statusPath, mint("vm:read"))); got != okStatus {
				wrong = append(wrong, got)
			}
		})
	})
	during(launch(t, nil, tool, append([]string{
		"-c", strconv.Itoa(slowConnections), "-r", "200", "-i", "1", "-l", "18", "-p", "5", "-u", "http://" + g.addr + path,
	}, flags...)...), admin)
	cancel()
	caller.Wait()
	require.Empty(t, wrong)
}

// ansi is what slowhttptest paints its output with.
var ansi = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`)

// A client that never finishes its request is answered 408 in time, and the
// program finds no connection left to hold.
func TestSlowRequestsEndWith408(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{
		"slow headers": {statusPath, "-H"},
		"slow body":    {startPath, "-B", "-s", "4096", "-t", "POST"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			besiege(t, func(tool *process, admin string) {
				require.Equal(t, 0, tool.waitFor(t, 2*patience))
				text := ansi.ReplaceAllString(tool.stdout.String(), "")
				require.Contains(t, text, "Exit status: No open connections left")
				require.NotContains(t, text, "service available:   NO")
				_, scraped := look(t, admin, "/metrics")
				line := fmt.Sprintf("\nbus_vm_http_requests_total{route=\"none\",code=\"408\"} %d\n", slowConnections)
				require.True(t, strings.Contains(scraped, line), "%s in\n%s", line, scraped)
			}, flags[0], flags[1:]...)
		})
	}
}

var connectionsLine = regexp.MustCompile(`\nbus_vm_http_connections (\d+)\n`)

// A client that hardly reads its replies holds a connection no longer than one
// that rests: the replies fit into the socket's buffers.
func TestSlowReadersAreClosed(t *testing.T) {
	t.Parallel()
	besiege(t, func(tool *process, admin string) {
		open := func() int {
			_, scraped := look(t, admin, "/metrics")
			count, err := strconv.Atoi(connectionsLine.FindStringSubmatch(scraped)[1])
			require.NoError(t, err)
			return count
		}
		eventually(t, "slow readers are connected", func() bool { return open() > slowConnections/2 })
		eventually(t, "slow readers are gone", func() bool { return open() <= 1 })
		require.False(t, tool.hasEnded(), "it would hold them on")
		tool.signal(t, os.Kill)
		tool.waitFor(t, patience)
	}, statusPath, "-X", "-w", "1", "-y", "16", "-n", "1", "-z", "16", "-k", "3")
}
