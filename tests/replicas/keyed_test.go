package replicas

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
	"github.com/busdk/bus-api-provider-vm/tests/postgres"
)

// keyedKills is how many gateways are killed while keyed writes run; KEYED_KILLS makes
// it more.
const keyedKills = 30

// intent is what a client wants done once: it repeats the request with its key, by any
// gateway, until it has the end of the operation.
type intent struct {
	action, account, key string
	calls                []*call
}

// TestKeysWhileGatewaysAreKilled: clients repeat keyed writes on any replica while
// gateways are killed. Each key is carried out at most once, and each client gets to
// know what became of it.
func TestKeysWhileGatewaysAreKilled(t *testing.T) {
	t.Parallel()
	kills, seed := harness.Number(t, "KEYED_KILLS", keyedKills), uint64(harness.Number(t, "CHAOS_SEED", 1))
	r := newRig(t, postgres.Start(t), seed)
	r.VM.SetBehaviour(
		platform.Behaviour{Names: lifecycleRequests, Rate: .05, Silent: true},
		platform.Behaviour{Names: lifecycleRequests, Rate: .25, Jitter: 200 * time.Millisecond,
			Refuse: &platform.EventError{Code: "no_capacity", Message: "none left", InPayload: true}},
		platform.Behaviour{Names: lifecycleRequests, Jitter: 400 * time.Millisecond})
	var mu sync.Mutex // guards the gateways, and intents
	var intents []*intent
	gateway := func(dice *rand.Rand) *gateway {
		mu.Lock()
		defer mu.Unlock()
		return r.gateways[dice.IntN(replicas)]
	}
	ctx, quit := context.WithCancel(t.Context())
	defer quit()
	var calling sync.WaitGroup
	for i := range 24 {
		calling.Go(func() {
			dice := rand.New(rand.NewPCG(seed, uint64(i)))
			for ctx.Err() == nil {
				in := &intent{action: []string{start, start, start, stop}[dice.IntN(4)], account: uuid.NewString(), key: uuid.NewString()}
				mu.Lock()
				intents = append(intents, in)
				mu.Unlock()
				for deadline := time.Now().Add(harness.WaitLimit); time.Now().Before(deadline); {
					g := gateway(dice)
					if g.addr() == "" { // it has not begun
						time.Sleep(5 * time.Millisecond)
						continue
					}
					c := r.make(&call{gateway: g, action: in.action, account: in.account, key: in.key, wait: 10 * dice.IntN(2), requestID: uuid.NewString()})
					in.calls = append(in.calls, c)
					if in.done() {
						break
					}
					time.Sleep(time.Duration(dice.IntN(50)) * time.Millisecond)
				}
			}
		})
	}
	dice := rand.New(rand.NewPCG(seed, 99))
	for range kills {
		time.Sleep(time.Duration(dice.IntN(400)) * time.Millisecond) // random moments are the point
		victim := dice.IntN(replicas)
		r.gateways[victim].kill()
		g := r.launch(victim)
		mu.Lock()
		r.gateways[victim] = g
		mu.Unlock()
		if dice.IntN(3) > 0 { // else two are away
			g.awaitReady()
		}
	}
	quit()
	calling.Wait()
	r.heal()
	for _, g := range r.gateways {
		g.awaitReady()
	}
	r.awaitCount(0, `select count(*) from operations where outcome = ''`)
	publishes, ends := r.publishes(), map[string]int{}
	for i, in := range intents {
		require.True(t, in.done(), "%v", in.calls)
		published := 0
		for _, c := range in.calls {
			published += publishes[c.requestID]
			assert.False(t, published > 0 && c.outcome() == "not_sent", "told not_sent after it was published: %v", in.calls)
		}
		assert.LessOrEqual(t, published, 1, "%v", in.calls)
		told := in.calls[len(in.calls)-1]
		again := r.make(&call{gateway: r.gateways[i%replicas], action: in.action, account: in.account, key: in.key, requestID: uuid.NewString()})
		assert.True(t, again.replayed(), again)
		if told.outcome() != "unknown" { // which may have been corrected since
			assert.Equal(t, told.accepted(), again.accepted(), "%v\n%v", told, again)
			assert.True(t, told.accepted() || told.outcome() == again.outcome(), "%v\n%v", told, again)
		}
		var outcome string
		require.NoError(t, r.db.QueryRow(`select outcome from operations where id = (select operation from keys where name = $1)`, in.key).Scan(&outcome))
		assert.Equal(t, outcome, map[bool]string{true: "accepted", false: again.outcome()}[again.accepted()], again)
		ends[in.action+" "+outcome]++
	}
	t.Logf("%d kills, %d keys: %v; %d starts and stops published", kills, len(intents), ends, len(publishes))
}

// requests are the request ids of its calls.
func (in *intent) requests() (ids []string) {
	for _, c := range in.calls {
		ids = append(ids, c.requestID)
	}
	return ids
}

// done: the client knows the end.
func (in *intent) done() bool {
	if len(in.calls) == 0 {
		return false
	}
	c := in.calls[len(in.calls)-1]
	return c.accepted() || c.outcome() == "rejected" || c.replayed()
}

// promptly is how soon after its gateway saw that the runtime is ready a caller should be
// answered.
const promptly = 250 * time.Millisecond

// TestManyStartsAreOne: many subjects start at once and wait, on three replicas. The
// worker is asked once, each has a receipt of its own, and all are answered as soon as
// the runtime is ready. It runs before the tests that share the machine.
func TestManyStartsAreOne(t *testing.T) {
	const subjects = 500
	r := newRig(t, postgres.Start(t), 1, "BUS_VM_TIMEOUT=30s")
	starting := platform.Behaviour{Names: []string{platform.StatusRequest}, Payload: json.RawMessage(`{"state":"starting"}`)}
	r.VM.SetBehaviour(starting, platform.Behaviour{Names: lifecycleRequests, Hold: 1 << 20})
	answers := make(chan *intent, subjects)
	for i := range subjects {
		go func() {
			in := &intent{account: uuid.NewString(), key: uuid.NewString()}
			for c := (&call{}); c.header.Get("Location") == "" && t.Context().Err() == nil; in.calls = append(in.calls, c) { // a busy machine refuses some at first
				c = r.make(&call{gateway: r.gateways[i%replicas], action: start, key: in.key, wait: 50, account: in.account, requestID: uuid.NewString()})
			}
			answers <- in
		}()
	}
	r.awaitCount(subjects, `select count(*) from keys`)
	r.VM.SetBehaviour(starting)
	harness.Eventually(t, "all wait for the runtime", func() bool {
		return r.gateways[0].waits()+r.gateways[1].waits()+r.gateways[2].waits()+len(answers) == subjects
	})
	r.VM.SetBehaviour()
	joined, answered, unknown := 0, map[*gateway][]time.Time{}, 0
	for range subjects {
		in := <-answers
		c := in.calls[len(in.calls)-1]
		if c.outcome() == "unknown" { // the one that was sent, where its end takes longer than 2 s to be recorded
			unknown++
		} else {
			require.Equal(t, http.StatusOK, c.status, c)
			answered[c.gateway] = append(answered[c.gateway], c.at)
		}
		receipt := (&call{gateway: r.gateways[len(answers)%replicas], account: c.account, requestID: uuid.NewString()}).do(http.MethodGet, c.header.Get("Location"))
		require.Equal(t, http.StatusOK, receipt.status, receipt)
		var of struct {
			Operation struct {
				RequestID   string `json:"request_id"`
				Outcome     string
				Joined      bool
				Entitlement struct{ Reason string }
				Usage       []struct {
					Type string `json:"event_type"`
				}
			}
		}
		require.NoError(t, json.Unmarshal([]byte(receipt.body), &of))
		assert.Contains(t, in.requests(), of.Operation.RequestID)
		assert.Equal(t, "accepted", of.Operation.Outcome)
		assert.NotEmpty(t, of.Operation.Entitlement.Reason)
		require.Len(t, of.Operation.Usage, 2)
		assert.Equal(t, "runtime_start_finished", of.Operation.Usage[1].Type)
		if of.Operation.Joined {
			joined++
		}
		other := (&call{gateway: r.gateways[0], account: uuid.NewString()}).do(http.MethodGet, c.header.Get("Location"))
		assert.Equal(t, http.StatusNotFound, other.status, "another account")
	}
	assert.LessOrEqual(t, unknown, 1)
	assert.Equal(t, subjects-1, joined)
	assert.Len(t, r.VM.Asked(platform.StartRequest), 1)
	assert.Equal(t, 1, r.Events.Accepted(platform.StartRequest))

	var seen []time.Time // ready, by one gateway after the other
	for _, p := range r.Events.Published(platform.ReplyName(platform.StatusRequest)) {
		if strings.Contains(string(p.Payload), `"ready"`) {
			seen = append(seen, p.At)
		}
	}
	groups := slices.SortedFunc(maps.Values(answered), func(a, b []time.Time) int {
		return slices.MinFunc(a, time.Time.Compare).Compare(slices.MinFunc(b, time.Time.Compare))
	})
	require.GreaterOrEqual(t, len(seen), len(groups))
	for i, at := range groups {
		last := slices.MaxFunc(at, time.Time.Compare).Sub(seen[i])
		r.inTime(last, promptly, fmt.Sprintf("after it saw that the runtime is ready, the answers of a gateway to %d callers", len(at)))
	}
}

// A start is superseded by the stop that was accepted after it, although another stop that
// was requested later still was accepted before it.
func TestSupersededByAnEarlierRequest(t *testing.T) {
	t.Parallel()
	r := newRig(t, postgres.Start(t), 1, "BUS_VM_TIMEOUT=30s")
	r.VM.SetBehaviour(platform.Behaviour{Names: lifecycleRequests, Deaf: true})
	worker := platform.NewClient(r.URL(), r.ProviderToken())
	defer worker.Close()
	var answers []<-chan *call
	for i, action := range []string{start, stop, stop} { // requested in this order
		c := &call{gateway: r.gateways[0], action: action, account: uuid.NewString(), requestID: uuid.NewString(), key: "k"}
		answered := make(chan *call, 1)
		go func() { answered <- r.make(c) }()
		answers = append(answers, answered)
		r.awaitCount(i+1, `select count(*) from operations`)
	}
	require.NoError(t, r.Events.WaitAccepted(t.Context(), platform.StartRequest, 1))
	require.NoError(t, r.Events.WaitAccepted(t.Context(), platform.StopRequest, 2))
	accept := func(number int, name string) *call {
		var id string
		require.NoError(t, r.db.QueryRow(`select id from operations order by seq limit 1 offset $1`, number).Scan(&id))
		require.NoError(t, worker.Publish(t.Context(), platform.Message{
			Name: platform.ReplyName(name), CorrelationID: id, Payload: map[string]any{"accepted": true}}))
		c := harness.Next(t, answers[number])
		require.Equal(t, http.StatusAccepted, c.status, c)
		return c
	}
	accept(2, platform.StopRequest)
	own := accept(0, platform.StartRequest)
	accept(1, platform.StopRequest)
	for _, g := range r.gateways {
		for range 2 { // before a replica has looked perhaps, and after
			again := *own
			again.gateway, again.wait = g, 50
			again.do(http.MethodPost, "/api/v1/vm/start")
			assert.Equal(t, http.StatusConflict, again.status, &again)
			r.inTime(again.took, 2*time.Second, "what supersedes it")
		}
	}
}
