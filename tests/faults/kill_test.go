package faults

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// killRuns is how many seeded runs `go test` makes. CHAOS_RUNS makes more, from
// CHAOS_SEED on: a failed run is repeated by CHAOS_RUNS=1 and its seed.
const (
	killRuns = 25
	killSeed = 1
)

// TestKill kills the gateway (kill -9) at random moments, while starting,
// working, or delivering, in a world with a random fault, and starts it again
// on the same directory. The rig's check then wants every promise kept.
func TestKill(t *testing.T) { seeded(t, killRuns, 3, killing) }

// world is one life of a gateway in a seeded run. What happens is drawn from the
// seed; when exactly, the scheduler decides.
type world struct {
	*rig
	dice     *rand.Rand
	home     string
	settings []string
}

// seeded makes that many runs at a time, or as many as the environment says, each
// of at most so many lives, with a random fault in each.
func seeded(t *testing.T, runs, lives int, live func(world)) {
	t.Parallel()
	runs, first := harness.Number(t, "CHAOS_RUNS", runs), harness.Number(t, "CHAOS_SEED", killSeed)
	for seed := uint64(first); seed < uint64(first+runs); seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			r := newRigOf(t, platform.Config{Seed: seed})
			w := world{r, rand.New(rand.NewPCG(seed, 0)), r.home(), []string{"BUS_VM_TIMEOUT=2s", "BUS_VM_LATE_REPLY=500ms"}}
			for range 1 + w.dice.IntN(lives) {
				fault := odds[w.dice.IntN(len(odds))]
				t.Log(fault.name)
				fault.begin(r)
				live(w)
				r.heal()
				if fault.after != nil {
					fault.after(r)
				}
			}
			r.back(r.begin(process, w.home, w.settings...))
			r.onlyStatuses(0, http.StatusAccepted, http.StatusServiceUnavailable, http.StatusBadGateway)
		})
	}
}

// callers lets some callers call g until end.
func (w world) callers(g *gateway) (end func()) {
	return w.rig.callersAt([]time.Duration{steady, hectic}[w.dice.IntN(2)], g, 1+w.dice.IntN(10))
}

func killing(w world) {
	life := time.Duration(w.dice.Int64N(int64(400 * time.Millisecond)))
	atStart := w.dice.IntN(5) == 0
	w.t.Logf("killed after %v, while starting: %t", life, atStart)
	g := w.launch(process, w.home, w.settings...)
	if atStart {
		kill(g, life/8)
	} else if g.serving() {
		end := w.callers(g)
		kill(g, life)
		end()
	}
	g.wait()
	require.True(w.t, g.killed.Load(), "it ended by itself:\n%s", g.log)
}

// kill kills g when it has lived for so long.
func kill(g *gateway, after time.Duration) {
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-g.ended:
	}
	g.kill()
}

// odds are what may be wrong with the world while the gateway is killed.
var odds = []struct {
	name         string
	begin, after func(*rig)
}{
	{"all is well", func(*rig) {}, nil},
	{"all is well, again", func(*rig) {}, nil},
	{"the VM worker is slow", func(r *rig) {
		r.vmBehaves(platform.Behaviour{Delay: 30 * time.Millisecond, Jitter: 300 * time.Millisecond})
	}, nil},
	{"the VM worker is silent at times", func(r *rig) { r.vmBehaves(platform.Behaviour{Silent: true, Rate: .3}) }, nil},
	{"the VM worker refuses at times", func(r *rig) {
		r.vmBehaves(platform.Behaviour{Refuse: &platform.EventError{Code: "no_capacity", Message: "none left"}, Rate: .5})
	}, nil},
	{"the VM worker answers malformed at times", func(r *rig) { r.vmBehaves(platform.Behaviour{Payload: json.RawMessage(`{}`), Rate: .5}) }, nil},
	{"usage is not recorded", func(r *rig) { r.Usage.SetBehaviour(platform.Behaviour{Deaf: true}) }, nil},
	{"usage is recorded and not answered", func(r *rig) { r.Usage.SetBehaviour(platform.Behaviour{Silent: true, Rate: .5}) }, nil},
	{"usage is slow", func(r *rig) { r.Usage.SetBehaviour(platform.Behaviour{Jitter: 200 * time.Millisecond}) }, nil},
	{"billing is slow", func(r *rig) { r.Billing.SetBehaviour(platform.Behaviour{Jitter: 200 * time.Millisecond}) }, nil},
	{"publishes are cut after processing", func(r *rig) { r.Events.SetFaults(platform.Faults{CutPublish: true, Rate: .3}) }, nil},
	{"publishes are refused at times", func(r *rig) { r.Events.SetFaults(platform.Faults{PublishStatus: 500, Rate: .3}) }, nil},
	{"lines are cut", func(r *rig) { r.Events.SetFaults(platform.Faults{CutLine: true, Rate: .2}) }, nil},
	{"everything comes twice", func(r *rig) { r.Events.SetFaults(platform.Faults{Duplicate: true}) }, nil},
	{
		"the Events API is away", func(r *rig) { require.NoError(r.t, r.Events.Kill()) },
		func(r *rig) { r.up(true) },
	},
	{"the Events API dies afterwards", func(*rig) {}, func(r *rig) {
		require.NoError(r.t, r.Events.Kill())
		r.up(r.Events.Accepted(platform.StartRequest)%2 == 0)
	}},
	{"the Events API stalls", func(r *rig) { r.Events.SetFaults(platform.Faults{Stall: true}) }, nil},
}
