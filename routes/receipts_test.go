package routes_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// A receipt says what is on record, to its own subject.
func TestReceipts(t *testing.T) {
	l := keeping(t)
	get := func(path, subject string) reply { return l.ask(t, "GET", "/api/v1/vm/operations"+path, subject) }
	for i, took := range []time.Duration{100, 200, 300} {
		l.ends <- nil
		require.Equal(t, 202, l.write(t, "start", account, "X-Request-Id: "+fmt.Sprint(i)).status)
		l.later.Add(int64(took * time.Second))
		require.NoError(t, l.store.Reached(t.Context(), lifecycle.Start, "fake", 0))
	}
	harness.Eventually(t, "three samples", func() bool { return l.store.Estimate(lifecycle.Receipt{Action: lifecycle.Start}).Samples == 3 })
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
		return fmt.Sprintf(`"estimate":{"p50_seconds":200,"p90_seconds":300,"samples":3,"overdue":%v}`, overdue)
	}
	started := `{"operation":{"id":"<id>","action":"start","request_id":"last","requested_at":"<time>","accepted_at":"<time>","outcome":"accepted","entitlement":{"reason":"included"},"usage":` + fmt.Sprintf(records, "start", "finished") + `,`
	assertTimes := func(want, got string) {
		t.Helper()
		assert.Equal(t, want, regexpTimes.ReplaceAllString(got, "<time>"))
	}
	got := show(write, account)
	got = regexpRound.ReplaceAllString(got, `"p${1}_seconds":${2}00`)
	assertTimes(started+expected(false)+`}}`, got)
	l.later.Add(int64(310 * time.Second)) // the clock of the store; the routes have their own
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
	regexpRound = regexp.MustCompile(`"p(\d\d)_seconds":(\d)0\d(\.\d*)?`) // a busy machine adds some
)
