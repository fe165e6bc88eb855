package replicas

import (
	"database/sql"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
	"github.com/busdk/bus-api-provider-vm/tests/postgres"
)

var lifecycleRequests = []string{platform.StartRequest, platform.StopRequest}

// Three that start at once set up one schema, and any of them does all there is
// to do: records of a gateway that is gone are delivered, and its replies settle.
func TestAnyReplicaDoes(t *testing.T) {
	t.Parallel()
	r := newRig(t, postgres.Start(t), 1)
	r.Usage.SetBehaviour(platform.Behaviour{Deaf: true})
	for i, g := range r.gateways {
		c := r.write(g, []string{start, stop}[i%2])
		require.Equal(t, http.StatusAccepted, c.status, c)
	}
	for _, g := range r.gateways[1:] {
		g.kill()
	}
	r.Usage.SetBehaviour()
	r.awaitCount(6, `select coalesce(sum(sent), 0) from operations`)
}

// The gateway that sent is killed while the worker is at work: another one settles
// the operation from the reply.
func TestSenderKilled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		behaviour platform.Behaviour
		outcome   string
	}{
		"accepted": {platform.Behaviour{}, "accepted"},
		"rejected": {platform.Behaviour{Refuse: &platform.EventError{Code: "no_capacity", Message: "none left", InPayload: true}}, "rejected"},
		"silent":   {platform.Behaviour{Silent: true}, "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, postgres.Start(t), 1)
			c.behaviour.Names, c.behaviour.Hold = lifecycleRequests, 1<<20
			r.VM.SetBehaviour(c.behaviour)
			answer := r.behind(r.gateways[0], start)
			require.NoError(t, r.VM.WaitAsked(t.Context(), platform.StartRequest, 1))
			r.gateways[0].kill()
			require.Error(t, (<-answer).err)
			r.VM.SetBehaviour()
			r.awaitCount(1, `select count(*) from operations where outcome = $1`, c.outcome)
		})
	}
}

// A gateway is frozen after its insert was committed and before it knows. More
// than 5 s later it publishes nothing, and says so.
func TestFrozenBetweenCommitAndPublish(t *testing.T) {
	t.Parallel()
	r := newRig(t, postgres.Start(t), 1)
	quick := r.slowCommits()
	g := r.gateways[0]
	answer := r.behind(g, start)
	r.awaitCount(1, `select count(*) from pg_stat_activity where query = 'commit' and state = 'active'`)
	frozen := make(chan struct{})
	go func() { defer close(frozen); g.freezeFor(6 * time.Second) }()
	r.awaitCount(1, `select count(*) from operations where outcome = ''`)
	<-frozen
	c := <-answer
	assert.Equal(t, http.StatusServiceUnavailable, c.status, c)
	assert.Equal(t, "not_sent", c.outcome(), c)
	quick()
	r.awaitCount(1, `select count(*) from operations where outcome = 'not_sent'`)
	assert.Zero(t, r.Events.Accepted(platform.StartRequest))
	assert.Equal(t, http.StatusAccepted, r.write(g, stop).status)
}

// A database that is killed or frozen: reads go on, writes are refused within 3 s
// before any work, the reply to an earlier one is kept, and everything heals by itself.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ leave, comeBack func(*postgres.Server) }{
		"killed": {(*postgres.Server).Kill, (*postgres.Server).Run},
		"frozen": {(*postgres.Server).Freeze, (*postgres.Server).Thaw},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, postgres.Start(t), 1, "BUS_VM_TIMEOUT=30s")
			r.VM.SetBehaviour(platform.Behaviour{Names: lifecycleRequests, Hold: 1 << 20})
			before := r.behind(r.gateways[0], start)
			require.NoError(t, r.VM.WaitAsked(t.Context(), platform.StartRequest, 1))
			c.leave(r.database)
			r.VM.SetBehaviour()
			unconfirmed := <-before
			assert.Equal(t, "unknown", unconfirmed.outcome(), unconfirmed)
			r.inTime(unconfirmed.took, 2*time.Second, "the answer to the one that was accepted")
			var answers []<-chan *call
			for range 5 {
				for _, g := range r.gateways {
					answers = append(answers, r.behind(g, start))
				}
			}
			for _, g := range r.gateways {
				read := r.read(g)
				assert.Equal(t, http.StatusOK, read.status, read.body)
			}
			for _, answer := range answers {
				write := <-answer
				assert.Equal(t, http.StatusServiceUnavailable, write.status, write)
				assert.Equal(t, "not_sent", write.outcome(), write)
				r.inTime(write.took, 3*time.Second, "a refusal")
			}
			for _, g := range r.gateways { // known to be away by now
				write := r.write(g, stop)
				assert.Equal(t, "not_sent", write.outcome(), write)
				assert.Less(t, write.took, time.Second)
				assert.Equal(t, http.StatusServiceUnavailable, (&call{gateway: g}).do(http.MethodGet, "/readyz").status)
			}
			c.comeBack(r.database)
			for _, g := range r.gateways {
				g.awaitReady()
				write := r.write(g, start)
				assert.Equal(t, http.StatusAccepted, write.status, write)
				assert.Equal(t, 1, strings.Count(g.log.String(), "does not take writes"), g.log)
			}
			r.awaitCount(1, `select count(*) from operations where outcome = 'accepted' and corrected = 0 and request_id = $1`, unconfirmed.requestID)
		})
	}
}

// The primary dies under load and its standby, which each commit has waited for, takes
// over: what was confirmed is there, and what was not is told so.
func TestFailover(t *testing.T) {
	t.Parallel()
	primary := postgres.Start(t)
	standby := primary.Standby()
	r := newRig(t, primary, 1)
	either := primary.Either(standby, r.url)
	for i, g := range r.gateways {
		g.stop()
		r.gateways[i] = r.launch(i, "BUS_VM_STORE_URL="+either)
		r.gateways[i].awaitReady()
	}
	write := func(n int) (answers []<-chan *call) {
		for range n {
			for _, g := range r.gateways {
				answers = append(answers, r.behind(g, start))
			}
		}
		return answers
	}
	before := write(5)
	for _, answer := range before {
		require.Equal(t, http.StatusAccepted, (<-answer).status)
	}
	r.VM.SetBehaviour(platform.Behaviour{Delay: time.Second})
	during := write(20)
	r.awaitCount(len(during), `select count(*) from operations where outcome = ''`)
	primary.Kill()
	during = append(during, write(5)...)
	for _, answer := range during {
		<-answer // finish looks at what they say
	}
	standby.Promote()
	require.NoError(t, r.db.Close())
	var err error
	r.db, err = sql.Open("pgx", either)
	require.NoError(t, err)
	for _, g := range r.gateways {
		harness.Eventually(t, "writes are taken", func() bool { return r.write(g, start).status == http.StatusAccepted }, g.log)
	}
}

// The database dies while the worker is at work: its reply is kept, and written
// when the database is back, even if the gateway that sent is gone by then.
func TestReplyWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	r := newRig(t, postgres.Start(t), 1)
	r.VM.SetBehaviour(platform.Behaviour{Names: lifecycleRequests, Hold: 1 << 20})
	answer := r.behind(r.gateways[0], start)
	require.NoError(t, r.VM.WaitAsked(t.Context(), platform.StartRequest, 1))
	r.database.Kill()
	r.VM.SetBehaviour()
	c := <-answer
	assert.Equal(t, "unknown", c.outcome(), c)
	r.gateways[0].kill()
	r.database.Run()
	r.awaitCount(1, `select count(*) from operations where outcome = 'accepted' and corrected = 0`)
}
