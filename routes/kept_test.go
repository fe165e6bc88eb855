package routes_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/store"
	"github.com/busdk/bus-api-provider-vm/routes"
)

// ledger is a world whose operations are in a real store.
type ledger struct {
	*world
	store *store.Store
	later atomic.Int64 // how far the store's clock is ahead
	ends  chan error   // what each Apply ends with, in turn: nil, or one of the errors below
}

// What an Apply may end with.
var (
	refusal   = rejection("no_capacity", "No <room>.", nil)
	unsent    = away("Not sent.", nil)
	silence   = away("The runtime did not answer in time. It may still act on the request.", nil)
	garbage   = malformed("Malformed.")
	outcomeOf = map[error]backend.Outcome{nil: backend.Accepted, refusal: backend.Rejected, unsent: backend.NotSent, silence: backend.Unknown, garbage: backend.Unknown}
)

func keeping(t *testing.T, with ...func(*routes.Config)) *ledger {
	t.Helper()
	l := &ledger{ends: make(chan error, 99)}
	var err error
	l.store, err = store.Open(t.Context(), store.Config{
		Records: store.KeepRecords, Timeout: 10 * time.Second, LateReply: time.Second, Keep: 720 * time.Hour,
		Logger: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet(),
		Now: func() time.Time { return time.Now().Add(time.Duration(l.later.Load())) },
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.store.Run(ctx) }()
	t.Cleanup(func() { stop(); assert.NoError(t, <-ended) })
	l.world = serve(t, func(w *world, c *routes.Config) {
		c.Operations, c.Billed, c.Entitlement, c.Timeout = l.store, true, w.billing.check, 10*time.Second
		for _, set := range with {
			set(c)
		}
	})
	l.runtime.apply = func(ctx context.Context, op backend.Operation) (backend.Outcome, error) {
		if err := op.Permit(); err != nil {
			return backend.NotSent, away("Too late.", err)
		}
		select {
		case err := <-l.ends:
			return outcomeOf[err], err
		case <-ctx.Done():
			return backend.Unknown, silence
		}
	}
	return l
}

// reply is what a caller gets.
type reply struct {
	status                             int
	location, replayed, retry, outcome string
	body                               string
}

// ask makes one request of a subject; headers are further lines.
func (l *ledger) ask(t *testing.T, method, path, subject string, headers ...string) (r reply) {
	request, err := http.NewRequest(method, "http://"+l.addr.String()+path, nil)
	if !assert.NoError(t, err) {
		return r
	}
	request.Header.Set("Authorization", "Bearer "+token(subject, "vm:read vm:write"))
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Add(name, value)
	}
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if !assert.NoError(t, err) {
		return r
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	assert.NoError(t, err)
	var envelope struct{ Error struct{ Outcome string } }
	_ = json.Unmarshal(body, &envelope) // another body has none
	return reply{answer.StatusCode, answer.Header.Get("Location"), answer.Header.Get("Idempotency-Replayed"), answer.Header.Get("Retry-After"), envelope.Error.Outcome, string(body)}
}

func (l *ledger) write(t *testing.T, action, subject string, headers ...string) reply {
	return l.ask(t, "POST", "/api/v1/vm/"+action, subject, headers...)
}

// behind makes a write, and returns where its answer comes.
func (l *ledger) behind(t *testing.T, action, subject string, headers ...string) <-chan reply {
	answer := make(chan reply, 1)
	go func() { answer <- l.write(t, action, subject, headers...) }()
	return answer
}

// applied waits until that many Applies were called, and forgets all calls.
func (l *ledger) applied(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return l.count("apply") == n }, 5*time.Second, time.Millisecond, "want %d writes applied", n)
}

func (l *ledger) count(what string) (n int) {
	l.events.mu.Lock()
	defer l.events.mu.Unlock()
	for _, each := range l.list {
		if strings.HasPrefix(each, what) {
			n++
		}
	}
	return n
}

// rows are the operations of a subject.
func (l *ledger) rows(t *testing.T, subject string) int {
	list, err := l.store.Receipts(t.Context(), subject, 100)
	require.NoError(t, err)
	return len(list)
}

// joined waits until a subject has an operation.
func (l *ledger) joined(t *testing.T, subject string) {
	t.Helper()
	require.Eventually(t, func() bool { return l.rows(t, subject) > 0 }, 5*time.Second, time.Millisecond)
}

func idOf(r reply) string { return r.location[strings.LastIndexByte(r.location, '/')+1:] }

const wait = "Prefer: wait=5"

func key(k string) string { return "Idempotency-Key: " + k }

// The kept answer of a key is that to the acceptance, whatever it was.
func TestKeyAnswersAgain(t *testing.T) {
	for name, c := range map[string]struct {
		end    error
		status int
	}{"accepted": {nil, 202}, "rejected": {refusal, 502}} {
		t.Run(name, func(t *testing.T) {
			l := keeping(t)
			l.ends <- c.end
			first := l.write(t, "start", account, key("abc"))
			require.Equal(t, c.status, first.status, first.body)
			assert.Regexp(t, "^/api/v1/vm/operations/[0-9a-f-]{36}$", first.location)
			assert.Empty(t, first.replayed)
			want := first
			want.replayed = "true"
			l.runtime.reach = func(context.Context, backend.Action) error { return unsent }
			l.billing.answer = deny
			for _, headers := range [][]string{{key("abc")}, {key(`"abc"`)}, {key("abc"), wait}} {
				assert.Equal(t, want, l.write(t, "start", account, headers...), headers)
			}
			mismatch := l.write(t, "stop", account, key("abc"))
			assert.Equal(t, reply{status: 422, outcome: "not_sent", body: mismatch.body}, mismatch)
			assert.Contains(t, mismatch.body, `"type":"idempotency_mismatch"`)
			assert.Equal(t, 1, l.count("apply"))
			assert.Equal(t, 1, l.count("entitlement"))
			assert.Equal(t, 1, l.rows(t, account))
		})
	}
}

// A key is its subject's, and answers for a day.
func TestKeyIsItsSubjects(t *testing.T) {
	l := keeping(t)
	other := uuid.NewString()
	for range 3 {
		l.ends <- nil
	}
	one, two := l.write(t, "stop", account, key("abc")), l.write(t, "stop", other, key("abc"))
	assert.NotEqual(t, one.location, two.location)
	assert.Equal(t, 2, l.count("apply"))
	l.later.Store(int64(25 * time.Hour))
	assert.NotEqual(t, one.location, l.write(t, "stop", account, key("abc")).location)
	assert.Equal(t, 3, l.count("apply"))
}

// What has no end in the store is under way; what was unknown is told as it was
// settled since.
func TestKeyUnderWay(t *testing.T) {
	for name, c := range map[string]struct {
		settle  func(l *ledger, id string)
		status  int
		outcome string
	}{
		"accepted": {func(l *ledger, id string) { l.store.Settle(id, nil, false) }, 202, ""},
		"rejected": {func(l *ledger, id string) { l.store.Settle(id, refusal, false) }, 502, "rejected"},
		"never": {func(l *ledger, id string) {
			l.later.Store(int64(time.Minute))
			_, _ = l.store.Expire(context.Background(), 10)
		}, 503, "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			l := keeping(t)
			first := l.behind(t, "start", account, key("abc"), "X-Request-Id: first")
			l.applied(t, 1)
			busy := l.write(t, "start", account, key("abc"))
			assert.Equal(t, reply{409, busy.location, "", "1", "unknown", busy.body}, busy)
			assert.Contains(t, busy.body, `"type":"operation_in_progress"`)
			waiting := l.behind(t, "start", account, key("abc"), wait)
			l.ends <- garbage
			unknown := <-first
			assert.Equal(t, reply{502, busy.location, "", "", "unknown", unknown.body}, unknown)
			assert.Equal(t, 409, l.write(t, "start", account, key("abc")).status, "it has no end in the store")
			c.settle(l, idOf(unknown))
			settled := <-waiting
			assert.Equal(t, reply{c.status, busy.location, "true", settled.retry, c.outcome, settled.body}, settled)
			if c.outcome != "" {
				assert.Contains(t, settled.body, `"request_id":"first"`)
			}
			assert.Equal(t, settled, l.write(t, "start", account, key("abc")))
			assert.Equal(t, 1, l.count("apply"))
		})
	}
}

// The answer to a refusal before any work is not kept, and the key is free again.
func TestKeyIsNotKept(t *testing.T) {
	l := keeping(t)
	l.billing.answer = deny
	assert.Equal(t, 402, l.write(t, "start", account, key("abc")).status)
	l.billing.answer = func(context.Context, string, string) error { return nil }
	l.runtime.reach = func(context.Context, backend.Action) error { return unsent }
	assert.Equal(t, "not_sent", l.write(t, "start", account, key("abc")).outcome)
	l.runtime.reach = func(context.Context, backend.Action) error { return nil }
	assert.Zero(t, l.rows(t, account))
	l.ends <- unsent
	first := l.write(t, "start", account, key("abc"))
	assert.Equal(t, reply{503, first.location, "", "5", "not_sent", first.body}, first)
	l.ends <- nil
	second := l.write(t, "stop", account, key("abc"))
	assert.Equal(t, 202, second.status)
	assert.NotEqual(t, first.location, second.location)
	for _, headers := range [][]string{{key("a"), key("a")}, {key("ä")}, {key(strings.Repeat("x", 256))}} {
		bad := l.write(t, "start", account, headers...)
		assert.Equal(t, reply{status: 400, body: bad.body}, bad)
	}
}

// A subject has so many keys, more are refused.
func TestTooManyKeys(t *testing.T) {
	away := &gone{err: lifecycle.ErrTooManyKeys}
	l := keeping(t, func(c *routes.Config) { c.Operations = away })
	for _, away.met = range []bool{true, false} {
		refused := l.write(t, "start", account, key("one more"))
		assert.Equal(t, reply{429, "", "", "60", "not_sent", refused.body}, refused)
	}
}

// What could not be looked up is not known; without a key it was not sent.
func TestStoreAway(t *testing.T) {
	away := &gone{}
	l := keeping(t, func(c *routes.Config) { c.Operations = away })
	lost := fmt.Errorf("%w: %w", store.ErrUnavailable, lifecycle.ErrUnconfirmed)
	for _, c := range []struct {
		action, outcome string
		headers         []string
		met             bool // what fails is the insert
		err             error
	}{
		{"start", "not_sent", nil, false, store.ErrUnavailable},
		{"start", "not_sent", nil, false, lost},
		{"start", "not_sent", []string{wait}, false, store.ErrUnavailable},
		{"start", "not_sent", []string{wait}, true, store.ErrUnavailable},
		{"start", "unknown", []string{wait}, true, lost},
		{"start", "unknown", []string{key("abc")}, false, store.ErrUnavailable},
		{"start", "unknown", []string{key("abc"), wait}, true, lost},
		{"stop", "not_sent", []string{wait}, true, lost},
		{"stop", "unknown", []string{key("abc")}, false, store.ErrUnavailable},
		{"stop", "unknown", []string{key("abc")}, true, store.ErrUnavailable},
	} {
		away.met, away.err = c.met, c.err
		got := l.write(t, c.action, account, c.headers...)
		assert.Equal(t, reply{503, "", "", "5", c.outcome, got.body}, got, "%+v", c)
	}
	assert.Equal(t, 503, l.ask(t, "GET", "/api/v1/vm/operations", account).status)
	assert.Zero(t, l.count("apply"))
}

// gone is a store that does not answer; with met, an insert.
type gone struct {
	routes.Operations
	met bool
	err error
}

func (g *gone) Meet(context.Context, lifecycle.Write) (lifecycle.Decided, error) {
	if g.met {
		return lifecycle.Decided{Decision: lifecycle.New}, nil
	}
	return lifecycle.Decided{}, g.err
}

func (g *gone) Begin(context.Context, lifecycle.Write) (lifecycle.Decided, error) {
	return lifecycle.Decided{}, g.err
}

func (g *gone) Receipts(context.Context, string, int) ([]lifecycle.Receipt, error) {
	return nil, g.err
}

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
			require.Eventually(t, func() bool {
				met, err := l.store.Meet(t.Context(), lifecycle.Write{Account: joiner, Key: "abc", Action: lifecycle.Stop})
				return err == nil && met.Decision == lifecycle.Known
			}, 5*time.Second, time.Millisecond)
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
	require.Eventually(t, func() bool { return l.count("entitlement") == 6 }, 5*time.Second, time.Millisecond)
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
	require.NoError(t, l.store.Reached(t.Context(), backend.Start, "fake", 0))
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

// A receipt says what is on record, to its own subject.
func TestReceipts(t *testing.T) {
	l := keeping(t)
	get := func(path, subject string) reply { return l.ask(t, "GET", "/api/v1/vm/operations"+path, subject) }
	for i, took := range []time.Duration{10, 20, 30} {
		l.ends <- nil
		require.Equal(t, 202, l.write(t, "start", account, "X-Request-Id: "+fmt.Sprint(i)).status)
		l.later.Add(int64(took * time.Second))
		require.NoError(t, l.store.Reached(t.Context(), backend.Start, "fake", 0))
	}
	require.Eventually(t, func() bool { return l.store.Estimate(lifecycle.Receipt{Action: backend.Start}).Samples == 3 }, 5*time.Second, time.Millisecond)
	l.ends <- refusal
	rejected := l.write(t, "stop", account, "X-Request-Id: stop")
	l.ends <- nil
	write := l.write(t, "start", account, "X-Request-Id: last", key("abc"))
	subject := uuid.NewString()
	joined := l.write(t, "start", subject, wait)

	var shown struct {
		Operation struct {
			RequestedAt, AcceptedAt time.Time
			Usage                   []struct{ EventID string }
		}
	}
	show := func(r reply, who string) string {
		t.Helper()
		got := get("/"+idOf(r), who)
		require.Equal(t, 200, got.status, got.body)
		require.NoError(t, json.Unmarshal([]byte(got.body), &shown))
		return regexpTimes.ReplaceAllString(ids.ReplaceAllString(got.body, "<id>"), "<time>")
	}
	const records = `[{"event_id":"<id>","event_type":"runtime_%s_requested"},{"event_id":"<id>","event_type":"runtime_%[1]s_%s"}]`
	expected := func(overdue bool) string {
		return fmt.Sprintf(`"estimate":{"p50_seconds":20,"p90_seconds":30,"samples":3,"overdue":%v}`, overdue)
	}
	started := `{"operation":{"id":"<id>","action":"start","request_id":"last","requested_at":"<time>","accepted_at":"<time>","outcome":"accepted","entitlement":{"reason":"included"},"usage":` + fmt.Sprintf(records, "start", "finished") + `,`
	assertTimes := func(want, got string) {
		t.Helper()
		assert.Equal(t, want, regexpTimes.ReplaceAllString(got, "<time>"))
	}
	got := show(write, account)
	got = regexpRound.ReplaceAllString(got, `"p${1}_seconds":$2`)
	assertTimes(started+expected(false)+`}}`, got)
	l.later.Add(int64(31 * time.Second)) // the clock of the store; the routes have their own
	assert.Equal(t, `{"operation":{"id":"<id>","action":"stop","request_id":"stop","requested_at":"<time>","outcome":"rejected","entitlement":{"reason":"included"},"usage":`+
		fmt.Sprintf(records, "stop", "failed")+`,"error":{"type":"no_capacity","message":"No \u003croom\u003e."}}}`, show(rejected, account))
	own := show(joined, subject)
	assert.Contains(t, own, `"joined":true`)
	assert.Contains(t, own, `"overdue"`)
	l.ends <- nil
	require.Equal(t, 202, l.write(t, "stop", uuid.NewString()).status)
	assert.NotContains(t, show(joined, subject), `"overdue"`, "it is superseded")
	assert.NotContains(t, own, "last")

	for _, path := range []string{"/" + idOf(write), "/" + idOf(joined) + "x", "/" + uuid.NewString(), "/x", "/" + strings.ToUpper(idOf(joined)) + " ", "/{" + idOf(joined) + "}"} {
		got := get(strings.ReplaceAll(path, " ", "%20"), subject)
		assert.Equal(t, 404, got.status, path)
	}
	for query, n := range map[string]int{"": 5, "?limit=1": 1, "?limit=2&other=x": 2, "?limit=100": 5} {
		var list struct{ Operations []struct{ ID string } }
		got := get(query, account)
		require.Equal(t, 200, got.status, query)
		require.NoError(t, json.Unmarshal([]byte(got.body), &list))
		assert.Len(t, list.Operations, n, query)
		assert.Equal(t, idOf(write), list.Operations[0].ID, "newest first")
	}
	assert.Equal(t, `{"operations":[]}`, get("", uuid.NewString()).body)
	for _, query := range []string{"limit=", "limit=0", "limit=101", "limit=-1", "limit=+1", "limit=1.0", "limit=x", "limit=1&limit=2", "limit=%31%20", "limit=99999999999999999999"} {
		assert.Equal(t, 400, get("?"+query, account).status, query)
	}
	for scope, status := range map[string]string{"vm:read": "200", "vm:write": "200", "vm:other": "403"} {
		for _, path := range []string{"", "/" + idOf(write)} {
			assert.Contains(t, l.call(t, "GET", "/api/v1/vm/operations"+path, bearer(token(account, scope)), ""), "HTTP/1.1 "+status+" ")
		}
	}
}

var (
	regexpTimes = regexp.MustCompile(`20\d\d-\d\d-\d\dT[0-9:.]+Z`)
	regexpRound = regexp.MustCompile(`"p(\d\d)_seconds":(\d+)\.0\d*`)
)
