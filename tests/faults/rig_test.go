package faults

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// eventsSecret signs the tokens of the provider and of the workers.
const eventsSecret = "the-secret-of-the-platform-in-these-tests-only"

// defaults are the settings of every gateway here: production's shape with
// shorter times. Later entries win.
var defaults = []string{
	"BUS_VM_BACKEND=events", "BUS_VM_BILLING_BACKEND=events", "BUS_VM_USAGE_BACKEND=events",
	"BUS_VM_JWT_SECRET=" + callerSecret,
	unhurried, "BUS_VM_LATE_REPLY=1s",
	"BUS_EVENTS_LISTENER_RETRY_MIN=20ms", "BUS_EVENTS_LISTENER_RETRY_MAX=200ms",
	"BUS_VM_STATUS_MAX_AGE=1s", "BUS_VM_STATUS_REFRESH=200ms", "BUS_VM_STATUS_REFRESH_MOVING=50ms",
	"BUS_VM_SHUTDOWN_TIMEOUT=10s", "BUS_VM_LOG_LEVEL=debug",
}

// A busy machine must not make a deadline strike where a test wants an answer,
// and where a test wants the deadline to strike it should be soon.
const (
	unhurried = "BUS_VM_TIMEOUT=25s"
	hurried   = "BUS_VM_TIMEOUT=800ms"
)

// rig is a platform, the gateways in front of it, and all that callers did. At
// the end of its test it puts everything right and checks what must hold.
type rig struct {
	t *testing.T
	*platform.Platform
	dir    string
	book   book
	homes  []string // data directories, one for each gateway that ran at a time
	lives  []*gateway
	common []string // settings of all its gateways, before their own
	other  *platform.Client
	// untraced: a test replaced the status payload, so reads do not say when
	// they were observed.
	untraced bool
	// forgotten: the history of the API was lost, with replies in it perhaps.
	forgotten bool
}

func newRig(t *testing.T) *rig { return newRigOf(t, platform.Config{Seed: 1}) }

// newRigOf is a rig with a platform of that kind. Its test runs beside others:
// t.Parallel is called here.
func newRigOf(t *testing.T, config platform.Config) *rig {
	t.Helper()
	t.Parallel()
	config.Secret = eventsSecret
	p, err := platform.Start(config)
	require.NoError(t, err)
	r := &rig{t: t, Platform: p}
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	r.dir, err = os.MkdirTemp(harness.Directory(), "r")
	require.NoError(t, err)
	r.other = platform.NewClient(r.URL(), r.ProviderToken())
	t.Cleanup(r.other.Close)
	if roots := p.Events.Roots(); roots != nil {
		file := filepath.Join(r.dir, "roots.pem")
		require.NoError(t, os.WriteFile(file, roots, 0o600))
		r.common = []string{"SSL_CERT_FILE=" + file}
	}
	r.vmBehaves()
	t.Cleanup(r.abandon)
	t.Cleanup(r.finish)
	return r
}

// vmBehaves sets the behaviours of the VM worker. Statuses always tell which
// request they answer.
func (r *rig) vmBehaves(behaviours ...platform.Behaviour) {
	for i := range behaviours {
		behaviours[i].Echo = true
	}
	r.VM.SetBehaviour(append(behaviours, platform.Behaviour{Names: []string{platform.StatusRequest}, Echo: true})...)
}

// environment is that of a gateway with its data in home.
func (r *rig) environment(home string, settings []string) []string {
	env := append([]string{"PATH=" + os.Getenv("PATH")}, defaults...)
	env = append(env, "BUS_EVENTS_API_URL="+r.URL(), "BUS_API_TOKEN="+r.ProviderToken(), "BUS_VM_DATA_DIR="+dataDir(home))
	env = append(env, r.common...)
	return (&exec.Cmd{Env: append(env, settings...)}).Environ() // one entry for each name, the last
}

func dataDir(home string) string { return filepath.Join(home, "data") }

// home makes a place for a gateway of its own.
func (r *rig) home() string {
	r.t.Helper()
	home, err := os.MkdirTemp(r.dir, "g")
	require.NoError(r.t, err)
	r.homes = append(r.homes, home)
	return home
}

// launch begins a gateway in home.
func (r *rig) launch(k kind, home string, settings ...string) *gateway {
	r.t.Helper()
	g := launch(r.t, k, home, r.environment(home, settings))
	r.lives = append(r.lives, g)
	return g
}

// begin launches a gateway and waits until it listens.
func (r *rig) begin(k kind, home string, settings ...string) *gateway {
	r.t.Helper()
	g := r.launch(k, home, settings...)
	require.True(r.t, g.serving(), "the gateway ended instead of serving:\n%s", g.log)
	return g
}

// gateway is the one gateway of most tests, connected and used once.
func (r *rig) gateway(settings ...string) *gateway {
	r.t.Helper()
	g := r.begin(within, r.home(), settings...)
	r.connected()
	return g
}

// connected waits until all gateways hear every reply, and know it.
func (r *rig) connected() {
	r.t.Helper()
	for _, g := range r.running() {
		for _, name := range requests {
			g.awaitMetric(streamUp(name), one)
		}
	}
}

// streamUp is the metric of the stream of replies to a request.
func streamUp(request string) string {
	return fmt.Sprintf("bus_vm_events_stream_up{event=%q}", platform.ReplyName(request))
}

var requests = []string{
	platform.StatusRequest, platform.StartRequest, platform.StopRequest,
	platform.EntitlementRequest, platform.UsageRequest,
}

// heal ends all faults but a stopped Events API.
func (r *rig) heal() {
	r.Events.SetFaults(platform.Faults{})
	r.vmBehaves()
	r.Billing.SetBehaviour()
	r.Usage.SetBehaviour()
}

// up starts the Events API again. A child of this process may hold its port
// for the moment between fork and exec.
func (r *rig) up(keep bool) {
	r.t.Helper()
	r.forgotten = r.forgotten || !keep
	var err error
	require.True(r.t, eventually(func() bool { err = r.Events.Restart(keep); return err == nil }), err)
}

// finish puts everything right, lets the gateways recover, and checks.
func (r *rig) finish() {
	r.t.Helper()
	if r.t.Failed() {
		return
	}
	r.heal()
	ctx, cancel := patiently()
	defer cancel()
	require.NoError(r.t, r.WaitReady(ctx))
	r.recover()
	for _, g := range r.running() {
		g.awaitSettled()
		g.awaitMetric("bus_vm_events_requests_in_flight", zero)
	}
	_ = r.Usage.WaitClean(ctx, r.operations()...) // check says what is not clean by then
	for _, g := range r.running() {
		g.stop()
	}
	r.check()
}

// abandon ends what a failed test left running.
func (r *rig) abandon() {
	for _, g := range r.running() {
		g.interrupt()
		g.wait()
	}
}

// recover starts a gateway again wherever none runs, for what is on disk there.
func (r *rig) recover() {
	r.t.Helper()
	alive := map[string]bool{}
	for _, g := range r.running() {
		alive[g.home] = true
	}
	for _, home := range r.homes {
		if !alive[home] {
			r.begin(within, home)
		}
	}
}

func (r *rig) running() []*gateway {
	return slices.DeleteFunc(slices.Clone(r.lives), (*gateway).hasEnded)
}

// operations are all writes, with what must be on record for each.
func (r *rig) operations() []platform.Operation {
	published := r.publishedWrites()
	var operations []platform.Operation
	for _, c := range r.book.writes {
		op := platform.Operation{Account: c.account, RequestID: c.requestID, Action: c.action}
		switch {
		case c.status == http.StatusAccepted:
			op.Want = platform.WantFinished
		case published[c.requestID] && c.status == http.StatusBadGateway && !c.doubtful():
			op.Want = platform.WantFailed
		case published[c.requestID]:
			op.Want = platform.WantClosed
		case c.status == 0, c.status == http.StatusServiceUnavailable:
			op.Want = platform.WantWhole
		default:
			op.Want = platform.WantNothing
		}
		operations = append(operations, op)
	}
	return operations
}

// await is for the Wait methods of the platform.
func (r *rig) await(what string, wait func(context.Context) error) {
	r.t.Helper()
	ctx, cancel := patiently()
	defer cancel()
	require.NoError(r.t, wait(ctx), what)
}

// awaitAccepted waits until so many publishes of name have been accepted in all.
func (r *rig) awaitAccepted(name string, n int) {
	r.t.Helper()
	r.await(name, func(ctx context.Context) error { return r.Events.WaitAccepted(ctx, name, n) })
}

// awaitAsked waits until so many requests of name have reached the VM worker in all.
func (r *rig) awaitAsked(name string, n int) {
	r.t.Helper()
	r.await(name, func(ctx context.Context) error { return r.VM.WaitAsked(ctx, name, n) })
}

// publish makes an event of another client under the same identity.
func (r *rig) publish(name, id string, payload any) {
	r.t.Helper()
	ctx, cancel := patiently()
	defer cancel()
	require.NoError(r.t, r.other.Publish(ctx, platform.Message{Name: name, CorrelationID: id, Payload: payload}))
}
