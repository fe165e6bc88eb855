package replicas

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
	"github.com/busdk/bus-api-provider-vm/tests/postgres"
)

const (
	// randomRuns is how many seeded runs `go test` makes. CHAOS_RUNS makes more,
	// from CHAOS_SEED on: a failed run is repeated by CHAOS_RUNS=1 and its seed.
	randomRuns = 30
	// lanes is how many of them run at a time, each on a server of its own.
	lanes = 4
)

// TestRandom kills gateways (kill -9) and the database, and freezes them, at
// random moments in a platform with a random fault. Every other caller waits.
func TestRandom(t *testing.T) {
	t.Parallel()
	runs, first := harness.Number(t, "CHAOS_RUNS", randomRuns), harness.Number(t, "CHAOS_SEED", 1)
	for lane := range min(lanes, runs) {
		t.Run(fmt.Sprintf("lane %d", lane), func(t *testing.T) {
			t.Parallel()
			server := postgres.Start(t)
			for seed := first + lane; seed < first+runs; seed += lanes {
				t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
					w := world{newRig(t, server, uint64(seed)), rand.New(rand.NewPCG(uint64(seed), 0))}
					for range 1 + w.dice.IntN(3) {
						w.turn()
					}
				})
			}
		})
	}
}

// world is a seeded run. What happens is drawn from the seed; when exactly, the
// scheduler decides.
type world struct {
	*rig
	dice *rand.Rand
}

// turn lets callers call under a fault of the platform, and in the middle of it
// something dies or freezes.
func (w world) turn() {
	fault, accident := faults[w.dice.IntN(len(faults))], accidents[w.dice.IntN(len(accidents))]
	callers, pace := 3+w.dice.IntN(8), []time.Duration{time.Millisecond, 20 * time.Millisecond}[w.dice.IntN(2)]
	before, after := w.moment(), w.moment()
	victim := w.dice.IntN(replicas)
	w.t.Logf("%s; %s: gateway %d after %v, for %v; %d callers", fault.name, accident.name, victim, before, after, callers)
	fault.begin(w.rig)
	quit := w.calling(callers, pace, func(turn int) (*gateway, int) { return w.gateways[turn%replicas], turn % 2 })
	time.Sleep(before) // random moments are the point
	accident.happen(w.rig, victim, after)
	time.Sleep(w.moment())
	quit()
	w.heal()
	if fault.after != nil {
		fault.after(w.rig)
	}
	w.relaunch()
	harness.Eventually(w.t, "all is well again", func() bool { return w.write(w.gateways[victim], start).status == http.StatusAccepted }, w.gateways[victim].log)
}

func (w world) moment() time.Duration {
	return time.Duration(w.dice.Int64N(int64(400 * time.Millisecond)))
}

// accidents are what dies or freezes. Gateways that died are started again at the
// end of the turn.
var accidents = []struct {
	name   string
	happen func(r *rig, victim int, while time.Duration)
}{
	{"killed", func(r *rig, victim int, _ time.Duration) { r.gateways[victim].kill() }},
	{"two killed", func(r *rig, victim int, while time.Duration) {
		r.gateways[victim].kill()
		time.Sleep(while)
		r.gateways[(victim+1)%replicas].kill()
	}},
	{"all killed", func(r *rig, _ int, _ time.Duration) {
		for _, g := range r.gateways {
			g.kill()
		}
	}},
	{"frozen", func(r *rig, victim int, while time.Duration) { r.gateways[victim].freezeFor(while) }},
	{"frozen for long", func(r *rig, victim int, while time.Duration) { r.gateways[victim].freezeFor(6*time.Second + while) }},
	{"the database killed", func(r *rig, _ int, while time.Duration) {
		r.database.Kill()
		time.Sleep(while)
		r.database.Run()
	}},
	{"the database and a gateway killed", func(r *rig, victim int, while time.Duration) {
		r.database.Kill()
		time.Sleep(while)
		r.gateways[victim].kill()
		r.database.Run()
	}},
	{"the database frozen", func(r *rig, _ int, while time.Duration) {
		r.database.Freeze()
		time.Sleep(while * 8) // sometimes longer than a call may take
		r.database.Thaw()
	}},
	{"the database frozen and a gateway killed", func(r *rig, victim int, while time.Duration) {
		r.database.Freeze()
		time.Sleep(while)
		r.gateways[victim].kill()
		time.Sleep(while * 4)
		r.database.Thaw()
	}},
	{"cut off from the database", func(r *rig, victim int, while time.Duration) {
		r.links[victim].sever()
		time.Sleep(while * 8)
		r.links[victim].mend()
	}},
	{"sessions ended", func(r *rig, _ int, while time.Duration) {
		for ends := time.Now().Add(3 * while); time.Now().Before(ends); time.Sleep(while / 8) {
			r.endSessions()
		}
	}},
	{"nothing", func(*rig, int, time.Duration) {}},
}

// faults are what may be wrong with the platform meanwhile.
var faults = []struct {
	name         string
	begin, after func(*rig)
}{
	{"all is well", func(*rig) {}, nil},
	{"the VM worker is slow", func(r *rig) {
		r.VM.SetBehaviour(platform.Behaviour{Names: lifecycleRequests, Delay: 30 * time.Millisecond, Jitter: 2500 * time.Millisecond})
	}, nil},
	{"replies come twice", func(r *rig) { r.VM.SetBehaviour(platform.Behaviour{Names: lifecycleRequests, Duplicate: 1}) }, nil},
	{"the VM worker is silent at times", func(r *rig) {
		r.VM.SetBehaviour(platform.Behaviour{Names: lifecycleRequests, Silent: true, Rate: .3})
	}, nil},
	{"the VM worker refuses at times", func(r *rig) {
		r.VM.SetBehaviour(platform.Behaviour{Names: lifecycleRequests, Rate: .5,
			Refuse: &platform.EventError{Code: "no_capacity", Message: "none left", InPayload: true}})
	}, nil},
	{"usage is recorded and not answered", func(r *rig) { r.Usage.SetBehaviour(platform.Behaviour{Silent: true, Rate: .5}) }, nil},
	{"usage is not recorded", func(r *rig) { r.Usage.SetBehaviour(platform.Behaviour{Deaf: true}) }, nil},
	{"publishes are cut after processing", func(r *rig) { r.Events.SetFaults(platform.Faults{CutPublish: true, Rate: .3}) }, nil},
	{"publishes are refused at times", func(r *rig) { r.Events.SetFaults(platform.Faults{PublishStatus: 500, Rate: .3}) }, nil},
	{"answers to publishes come late", func(r *rig) { r.Events.SetFaults(platform.Faults{AnswerDelay: time.Second, Rate: .5}) }, nil},
	{"lines are cut", func(r *rig) { r.Events.SetFaults(platform.Faults{CutLine: true, Rate: .2}) }, nil},
	{"the Events API dies", func(r *rig) { require.NoError(r.t, r.Events.Kill()) }, func(r *rig) { r.up() }},
	{"the Events API dies afterwards", func(*rig) {}, func(r *rig) {
		require.NoError(r.t, r.Events.Kill())
		r.up()
	}},
	{"the Events API stalls", func(r *rig) { r.Events.SetFaults(platform.Faults{Stall: true}) }, nil},
}

// up starts the Events API again with its history. A child of this process may
// hold its port for the moment between fork and exec.
func (r *rig) up() {
	r.t.Helper()
	harness.Eventually(r.t, "the Events API is up", func() bool { return r.Events.Restart(true) == nil })
}
