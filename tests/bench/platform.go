package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// eventsDocument is what the platform's machine looks like through the gateway.
const eventsDocument = `{"status":{"state":"ready","provider":"static"}}`

// startPlatform runs an Events API with workers that answer at once, in this
// program and so on the core of the load.
func startPlatform() (*platform.Platform, error) {
	return platform.Start(platform.Config{
		Secret: benchSecret,
		VM:     platform.VMConfig{State: platform.StateReady, Provider: "static"},
	})
}

// eventsSpec is the gateway in events mode with everything on, at its defaults
// but for env.
func eventsSpec(name string, p *platform.Platform, env ...string) spec {
	return eventsSpecOf(gateway, name, p, env...)
}

// eventsSpecOf is the same for another build of the gateway.
func eventsSpecOf(program, name string, p *platform.Platform, env ...string) spec {
	return spec{name: name, wants: eventsDocument, command: func(dir, addr string) *exec.Cmd {
		data := must(os.MkdirTemp(dir, "data-"))
		if !filepath.IsAbs(program) {
			program = filepath.Join(dir, program)
		}
		cmd := exec.Command(program, "--addr", addr, "--admin-addr", "unix:"+adminSocket(dir, addr),
			"--backend", "events", "--events-url", p.URL(), "--billing-backend", "events", "--usage-backend", "events")
		cmd.Env = append([]string{"BUS_API_TOKEN=" + p.ProviderToken(), "BUS_VM_DATA_DIR=" + data}, env...)
		return cmd
	}}
}

// busClientSpec is the plain client, as a server that takes the same call.
func busClientSpec(p *platform.Platform, name string) spec {
	return spec{name: name, command: func(dir, addr string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(dir, busClient), addr, strings.TrimPrefix(p.URL(), "http://"))
		if name == busFreshPeer {
			cmd.Args = append(cmd.Args, "fresh")
		}
		cmd.Env = []string{"BUS_API_TOKEN=" + p.ProviderToken()}
		return cmd
	}}
}

func adminSocket(dir, addr string) string {
	_, port, _ := net.SplitHostPort(addr) // made by freeAddr
	return filepath.Join(dir, "admin-"+port)
}

// metric reads one counter or gauge of a gateway in events mode, under the first of
// these names that it has.
func (b *bench) metric(ctx context.Context, s *server, names ...string) float64 {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", adminSocket(b.dir, s.addr))
	}}
	request := must(http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/metrics", nil))
	response := must(transport.RoundTrip(request))
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if slices.Contains(names, name) {
			return must(strconv.ParseFloat(value, 64))
		}
	}
	check(fmt.Errorf("no metric %v", names))
	return 0
}

// drained waits until a gateway has delivered all of its usage records.
func (b *bench) drained(ctx context.Context, s *server) {
	for b.metric(ctx, s, "bus_vm_usage_waiting_records", "bus_vm_outbox_records") > 0 {
		check(pause(ctx, 100*time.Millisecond))
	}
}
