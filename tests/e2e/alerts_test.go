package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// firingLimit bounds the wait for all alerts. The slowest needs half a minute of
// the shortened clock. It is less than `go test` gives a package.
const firingLimit = 6 * time.Minute

// calm is the pause between two requests of one caller.
const calm = 100 * time.Millisecond

type alertRule struct{ Alert, Expr, For string }

// alertRules reads the text of alerts.
func alertRules(t testing.TB, text string) (rules []alertRule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alertRule } }
	require.NoError(t, yaml.Unmarshal([]byte(text), &file))
	for _, group := range file.Groups {
		rules = append(rules, group.Rules...)
	}
	require.NotEmpty(t, rules)
	return rules
}

var (
	minutes       = regexp.MustCompile(`(\[|for: )(\d+)m(\]|\n)`)
	timesAMinute  = regexp.MustCompile(`(\d+) \* 60\b`)
	notMinutesYet = regexp.MustCompile(`\d[hdm]\b|\* 60\b`)
)

// hurried makes a second of each minute in the alerts.
func hurried(t testing.TB, text string) string {
	t.Helper()
	text = timesAMinute.ReplaceAllString(minutes.ReplaceAllString(text, "${1}${2}s${3}"), "${1}")
	for _, rule := range alertRules(t, text) {
		require.NotRegexp(t, notMinutesYet, rule.Expr+" "+rule.For)
	}
	return text
}

// fault is what happens to a gateway in events mode, and the alerts that must
// follow.
type fault struct {
	alerts []string
	env    []string
	happen func(p *prometheus, s *stack)
	drive  func(ctx context.Context, s *stack) // nil for steady reads and starts
}

func steadily(ctx context.Context, s *stack) {
	harness.Every(ctx, calm, func() { s.read(); s.start() })
}

// faults are those that alerts are for, all but BusVMInternalErrors: it takes a
// bug to answer 500, so promtool alone shows its condition.
func faults(t testing.TB) map[string]fault {
	directory, file, full := t.TempDir(), writeYAML(t, "log.level", "debug"), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(directory, "operations.db"), []byte(strings.Repeat("no database ", 1000)), 0o600))
	keys := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(keys.Close)
	deaf := platform.Behaviour{Deaf: true}
	all := map[string]fault{
		"none": {env: []string{"BUS_VM_TIMEOUT=10s", "BUS_VM_STATUS_MAX_AGE=10s"}}, // on a slow machine, too
		"no events": {
			alerts: []string{"BusVMStreamDown", "BusVMUnavailable", "BusVMStatusStale"},
			happen: func(_ *prometheus, s *stack) { _ = s.platform.Events.Stop() },
		},
		"cut streams": {
			alerts: []string{"BusVMStreamFlapping"},
			drive: func(ctx context.Context, s *stack) {
				harness.Every(ctx, 5*calm, func() { s.platform.Events.CutStreams(platform.ReplyName(platform.StatusRequest)) })
			},
		},
		"malformed status": {
			alerts: []string{"BusVMBadGateway"},
			happen: func(_ *prometheus, s *stack) {
				s.platform.VM.SetBehaviour(platform.Behaviour{Payload: json.RawMessage(`{"unexpected":true}`)})
			},
		},
		"slow worker": {
			alerts: []string{"BusVMSlowReads"},
			env:    []string{"BUS_VM_TIMEOUT=5s", "BUS_VM_STATUS_MAX_AGE=100ms"},
			happen: func(_ *prometheus, s *stack) { s.platform.VM.SetBehaviour(platform.Behaviour{Delay: time.Second}) },
		},
		"slow start": {
			alerts: []string{"BusVMStartSlow"},
			env:    []string{"BUS_VM_TIMEOUT=10s"},
			happen: func(p *prometheus, s *stack) {
				for range 5 {
					ask(t, s.addr, request("POST "+startPath, mint("vm:write"), "Prefer: wait=10"))
				}
				harness.Eventually(t, "measured and scraped", func() bool {
					return len(p.query(t, `bus_vm_start_duration_seconds_count{instance="`+s.admin+`"} >= 3`)) == 1
				})
				s.tells(`{"state":"starting"}`)
			},
		},
		"silent billing": {alerts: []string{"BusVMBillingUnanswered"}, happen: func(_ *prometheus, s *stack) { s.platform.Billing.SetBehaviour(deaf) }},
		"silent usage":   {alerts: []string{"BusVMRecordsStuck"}, happen: func(_ *prometheus, s *stack) { s.platform.Usage.SetBehaviour(deaf) }},
		"refused records": {
			alerts: []string{"BusVMRecordsParked"},
			happen: func(_ *prometheus, s *stack) {
				s.platform.Usage.SetBehaviour(platform.Behaviour{Refuse: &platform.EventError{Code: "invalid_request", Message: "no such account"}})
			},
		},
		"damaged store": {alerts: []string{"BusVMStoreDamaged"}, env: []string{"BUS_VM_DATA_DIR=" + directory}},
		"refused publishes with a brief token": {
			alerts: []string{"BusVMPublishRefused", "BusVMTokenExpiring"},
			env:    []string{"BUS_API_TOKEN=" + providerJWT(platform.ProviderScope, 10*time.Minute)},
			happen: func(_ *prometheus, s *stack) {
				s.platform.Events.SetFaults(platform.Faults{PublishStatus: http.StatusInternalServerError})
			},
		},
		"reached limits": {
			alerts: []string{"BusVMTooManyWrites", "BusVMTooManyConnections"},
			env:    []string{"BUS_VM_WRITES_IN_FLIGHT=1", "BUS_VM_MAX_CONNECTIONS=10"},
			happen: func(_ *prometheus, s *stack) {
				s.platform.VM.SetBehaviour(platform.Behaviour{Names: []string{platform.StartRequest}, Deaf: true})
				for range 9 {
					dial(t, s.addr)
				}
			},
			drive: func(ctx context.Context, s *stack) {
				var callers sync.WaitGroup
				for range 2 {
					callers.Go(func() { harness.Every(ctx, calm, s.start) })
				}
				callers.Wait()
			},
		},
		"every other accept fails": {
			alerts: []string{"BusVMAcceptFailing"},
			happen: func(_ *prometheus, s *stack) { inject(t, s.process, "accept4:error=EMFILE:when=1+2") },
		},
		"no public keys, and callers with another secret": {
			alerts: []string{"BusVMNoPublicKeys", "BusVMPublicKeysStale", "BusVMTokensRefused"},
			env:    []string{"BUS_VM_JWKS_URL=" + keys.URL},
			drive: func(ctx context.Context, s *stack) {
				token := signedBy("another secret than that of the gateway")
				harness.Every(ctx, calm, func() { s.send(request("GET "+statusPath, token)) })
			},
		},
		"bad reload": {
			alerts: []string{"BusVMReloadFailed"},
			env:    []string{"BUS_VM_CONFIG=" + file},
			happen: func(*prometheus, *stack) { require.NoError(t, os.WriteFile(file, []byte("log: [\n"), 0o600)) },
		},
		"restarts, and none at last": {
			alerts: []string{"BusVMRestarting", "BusVMDown"},
			drive: func(ctx context.Context, s *stack) {
				restarts := 0
				harness.Every(ctx, 1100*time.Millisecond, func() { // start times are whole seconds
					if restarts++; restarts <= 5 {
						s.stop(t)
					}
					if restarts < 5 {
						s.gateway = serve(t, []string{"BUS_VM_ADMIN_ADDR=" + s.admin})
					}
				})
			},
		},
	}
	if canMount(t) {
		require.NoError(t, syscall.Mount("tmpfs", full, "tmpfs", 0, "size=1m,mode=0700"))
		t.Cleanup(func() { require.NoError(t, syscall.Unmount(full, syscall.MNT_DETACH)) })
		all["full disk"] = fault{alerts: []string{"BusVMStoreCannotWrite"}, env: []string{"BUS_VM_DATA_DIR=" + full}, happen: func(_ *prometheus, s *stack) {
			s.platform.Usage.SetBehaviour(deaf) // so that records need room
			ballast, err := os.Create(filepath.Join(full, "ballast"))
			for err == nil {
				_, err = ballast.Write(make([]byte, 4096))
			}
			_ = ballast.Close()
		}}
	}
	return all
}

// canMount reports a machine where a full disk can be had. In CI it must.
func canMount(t testing.TB) bool {
	if os.Geteuid() != 0 {
		require.Empty(t, os.Getenv("CI"), "the full-disk alert needs to mount a tmpfs")
	}
	return os.Geteuid() == 0
}

// Each alert fires when the real gateway meets the fault it is for, as a real
// Prometheus sees it, and none while all is well. A minute of the shipped rules
// is a second here.
func TestAlertsFire(t *testing.T) {
	t.Parallel()
	harness.Needs(t, "prometheus")
	harness.Needs(t, "strace")
	rules := shipped(t, "prometheus/alerts.yml")
	undriven, missing := map[string]bool{}, map[string]bool{} // by alert; by alert and instance
	for _, rule := range alertRules(t, rules) {
		undriven[rule.Alert] = true
	}
	all, stacks, addrs := faults(t), map[string]*stack{}, []string{}
	for name, each := range all {
		s := serveStack(t, each.env...)
		s.read()
		stacks[name], addrs = s, append(addrs, s.admin)
		for _, alert := range each.alerts {
			delete(undriven, alert)
			missing[alert+" at "+s.admin] = true
		}
	}
	delete(undriven, "BusVMInternalErrors")
	if !canMount(t) {
		delete(undriven, "BusVMStoreCannotWrite")
	}
	require.Empty(t, undriven, "no fault leads to them")

	healthy := stacks["none"].admin
	p := watch(t, hurried(t, rules), addrs)
	harness.Eventually(t, "all targets are scraped", func() bool { return len(p.query(t, `up == 1`)) == len(addrs) })
	ctx, cancel := context.WithCancel(t.Context())
	var drives sync.WaitGroup
	defer drives.Wait()
	defer cancel()
	for name, each := range all {
		if each.happen != nil {
			each.happen(p, stacks[name])
		}
		if each.drive == nil {
			each.drive = steadily
		}
		drives.Go(func() { each.drive(ctx, stacks[name]) })
	}
	limit := time.NewTimer(firingLimit)
	defer limit.Stop()
	tick := time.NewTicker(calm)
	defer tick.Stop()
	for len(missing) > 0 {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("not firing: %v; firing: %v", missing, p.query(t, `ALERTS{alertstate="firing"}`))
		}
		for _, firing := range p.query(t, `ALERTS{alertstate="firing"}`) {
			require.NotEqual(t, healthy, firing["instance"], "all is well there: %v", firing)
			delete(missing, firing["alertname"]+" at "+firing["instance"])
		}
	}
}
