package routes_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/routes"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// A start that waits, or has a key, has the outcome of the one that is under way. Of
// another subject it is asked for and recorded by itself, of the same it is the same.
func TestJoin(t *testing.T) {
	for name, c := range map[string]struct {
		end     error
		status  int
		outcome string
	}{
		"accepted": {nil, 202, ""},
		"rejected": {refusal, 502, "rejected"},
	} {
		t.Run(name, func(t *testing.T) {
			l := keeping(t)
			joiner, denied := uuid.NewString(), uuid.NewString()
			leader := l.behind(t, "start", account) // plain
			l.applied(t, 1)
			own := l.behind(t, "start", account, wait)
			keyed := l.behind(t, "start", account, key("abc"))
			other := l.behind(t, "start", joiner, wait)
			l.joined(t, joiner)
			same := l.behind(t, "start", joiner, key("abc"))
			harness.Eventually(t, "its key is known", func() bool {
				met, err := l.store.Meet(t.Context(), lifecycle.Write{Operation: lifecycle.Operation{Account: joiner, Action: lifecycle.Stop}, Key: "abc"})
				return err == nil && met.Decision == lifecycle.Known
			})
			l.billing.answer = func(ctx context.Context, who, _ string) error {
				if who == denied {
					return deny(ctx, "", "")
				}
				return nil
			}
			assert.Equal(t, 402, l.write(t, "start", denied, wait).status)
			assert.Equal(t, 3, l.count("entitlement"), "the leader, the joiner and the one that is denied")
			l.ends <- c.end
			first := <-leader
			assert.Equal(t, c.status, first.status)
			for _, attached := range []reply{<-own, <-keyed} {
				assert.Equal(t, reply{c.status, first.location, "", first.retry, c.outcome, attached.body}, attached)
			}
			second := <-other
			assert.Equal(t, reply{c.status, second.location, "", "", c.outcome, second.body}, second)
			assert.NotEqual(t, first.location, second.location)
			assert.Equal(t, second.location, (<-same).location)
			if c.end != nil {
				assert.NotContains(t, second.body, "room", "what the worker said is for the leader")
			}
			assert.Equal(t, 1, l.count("apply"))
			assert.Equal(t, []int{1, 1, 0}, []int{l.rows(t, account), l.rows(t, joiner), l.rows(t, denied)})
			again := l.write(t, "start", joiner, key("abc"))
			assert.Equal(t, reply{c.status, second.location, "true", "", c.outcome, again.body}, again)
		})
	}
}

// After a leader that was not sent, one that joined and whose caller waits leads, and
// the others join it. Those that attached are told.
func TestLeaderNotSent(t *testing.T) {
	l := keeping(t)
	leader := l.behind(t, "start", account)
	l.applied(t, 1)
	own := l.behind(t, "start", account, wait)
	var joiners []<-chan reply
	for range 5 {
		subject := uuid.NewString()
		joiners = append(joiners, l.behind(t, "start", subject, wait))
		l.joined(t, subject)
	}
	harness.Eventually(t, "all are allowed", func() bool { return l.count("entitlement") == 6 })
	l.ends <- unsent
	assert.Equal(t, "not_sent", (<-leader).outcome)
	assert.Equal(t, "not_sent", (<-own).outcome)
	l.ends <- nil
	for _, joiner := range joiners {
		got := <-joiner
		assert.Equal(t, reply{202, got.location, "", "", "", got.body}, got)
	}
	assert.Equal(t, 2, l.count("apply"))
}

// A stop since ends those that would decide again.
func TestStopBeforeTheDecision(t *testing.T) {
	l := keeping(t)
	leader := l.behind(t, "start", account)
	l.applied(t, 1)
	subject := uuid.NewString()
	joiner := l.behind(t, "start", subject, wait, key("abc"))
	l.joined(t, subject)
	stopped := l.behind(t, "stop", account)
	l.applied(t, 2)
	l.ends <- unsent
	l.ends <- unsent
	assert.Equal(t, "not_sent", (<-leader).outcome)
	assert.Equal(t, "not_sent", (<-stopped).outcome)
	got := <-joiner
	assert.Equal(t, reply{503, got.location, "", "5", "not_sent", got.body}, got)
	assert.Equal(t, 2, l.count("apply"))
}

// The audit line says where a start has joined another one, or a key was answered again.
func TestAuditOfShared(t *testing.T) {
	var lines log
	l := keeping(t, func(c *routes.Config) { c.Logger = lines.logger(slog.LevelInfo) })
	l.ends <- nil
	for range 2 {
		l.write(t, "start", account, key("abc"))
	}
	l.write(t, "stop", account, key("abc"))
	l.write(t, "start", account, key("def"))
	l.write(t, "start", uuid.NewString(), wait)
	const events = " operation=<id> requested_event=<id> ended_event=<id>"
	line := func(action, more string) string {
		return "request_id=<id> subject=<id> action=" + action + " result=" + more
	}
	assert.Equal(t, []string{
		line("start", "accepted"+events), line("start", "accepted"+events+" replayed=true"), line("stop", "refused status=422 reason=idempotency_mismatch"),
		line("start", "accepted"+events+" joined=true"), line("start", "accepted"+events+" joined=true"),
	}, lines.take("msg=audit"))
}

// A start without either header is published as ever, and an accepted start is joined
// until it is seen ready.
func TestSlot(t *testing.T) {
	l := keeping(t)
	for range 4 {
		l.ends <- nil
	}
	first := l.write(t, "start", account)
	assert.Equal(t, 202, first.status)
	assert.Equal(t, 202, l.write(t, "start", account).status)
	assert.Equal(t, 2, l.count("apply"))
	assert.Equal(t, first.location, l.write(t, "start", account, wait).location)
	joined := l.write(t, "start", uuid.NewString(), wait)
	assert.Equal(t, 202, joined.status)
	assert.NotEqual(t, first.location, joined.location)
	assert.Equal(t, 2, l.count("apply"))
	require.NoError(t, l.store.Reached(t.Context(), lifecycle.Start, "fake", 0))
	assert.NotEqual(t, first.location, l.write(t, "start", account, wait).location)
	assert.Equal(t, 3, l.count("apply"))
	assert.Equal(t, 202, l.write(t, "stop", account, wait).status)
	assert.Equal(t, 4, l.count("apply"))
}

// A leader without an answer: who joined it is not told anything else.
func TestJoinWithoutAnEnd(t *testing.T) {
	l := keeping(t, func(c *routes.Config) { c.Timeout = 300 * time.Millisecond })
	l.billing.answer = func(context.Context, string, string) error { return nil }
	leader := l.behind(t, "start", account, key("abc"))
	l.applied(t, 1)
	subject := uuid.NewString()
	joiner, own := l.behind(t, "start", subject, wait), l.behind(t, "start", account, wait)
	busy := l.behind(t, "start", account, key("abc"), wait)
	for _, r := range []reply{<-leader, <-joiner, <-own} {
		assert.Equal(t, reply{503, r.location, "", "5", "unknown", r.body}, r)
		assert.NotEmpty(t, r.location)
	}
	assert.Equal(t, 409, (<-busy).status)
}

// alone is a store that has lost sight of every other operation than that.
type alone struct {
	routes.Operations
	account string
}

func (a alone) Receipt(ctx context.Context, id string) (lifecycle.Receipt, error) {
	r, err := a.Operations.Receipt(ctx, id)
	if err == nil && r.Account != a.account {
		return lifecycle.Receipt{}, context.DeadlineExceeded
	}
	return r, err
}

// A start that has joined is accepted, for the status too, where the one that it joined
// cannot be read.
func TestJoinedWithoutItsLeader(t *testing.T) {
	joiner := uuid.NewString()
	l := keeping(t, func(c *routes.Config) { c.Operations = alone{c.Operations, joiner} })
	leader := l.behind(t, "start", account)
	l.applied(t, 1)
	l.ends <- nil
	require.Equal(t, 202, (<-leader).status)
	began := time.Now()
	require.Equal(t, 202, l.write(t, "start", joiner, key("abc")).status)
	require.WithinRange(t, *l.runtime.accepted.Load(), began.Add(-time.Second), time.Now())
}
