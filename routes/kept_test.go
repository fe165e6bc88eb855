package routes_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/store"
	"github.com/busdk/bus-api-provider-vm/routes"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
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
	outcomeOf = map[error]lifecycle.Outcome{nil: lifecycle.Accepted, refusal: lifecycle.Rejected, unsent: lifecycle.NotSent, silence: lifecycle.Unknown, garbage: lifecycle.Unknown}
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
	harness.Run(t, l.store.Run)
	l.world = serve(t, func(w *world, c *routes.Config) {
		c.Operations, c.Billed, c.Entitlement, c.Timeout = l.store, true, w.billing.check, 10*time.Second
		for _, set := range with {
			set(c)
		}
	})
	l.runtime.apply = func(ctx context.Context, op lifecycle.Operation) (lifecycle.Outcome, error) {
		if err := op.Permit(); err != nil {
			return lifecycle.NotSent, away("Too late.", err)
		}
		select {
		case err := <-l.ends:
			return outcomeOf[err], err
		case <-ctx.Done():
			return lifecycle.Unknown, silence
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
	harness.Eventually(t, "so many writes applied", func() bool { return l.count("apply") == n }, n)
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
	harness.Eventually(t, "an operation of it", func() bool { return l.rows(t, subject) > 0 }, subject)
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
			l.runtime.reach = func(context.Context, lifecycle.Action) error { return unsent }
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
		"accepted": {func(l *ledger, id string) { l.store.Settle(id, nil, nil) }, 202, ""},
		"rejected": {func(l *ledger, id string) { l.store.Settle(id, refusal, nil) }, 502, "rejected"},
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
	l.runtime.reach = func(context.Context, lifecycle.Action) error { return unsent }
	assert.Equal(t, "not_sent", l.write(t, "start", account, key("abc")).outcome)
	l.runtime.reach = func(context.Context, lifecycle.Action) error { return nil }
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
		{"stop", "not_sent", []string{key("abc")}, true, lifecycle.ErrFull},
		{"start", "not_sent", []string{key("abc"), wait}, true, lifecycle.ErrFull},
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
