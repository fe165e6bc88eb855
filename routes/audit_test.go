package routes_test

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/routes"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// log is what the routes logged, without what differs between two runs.
type log struct {
	harness.Output
	taken int
}

var ids = regexp.MustCompile(`[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f-]{27}`)

// take returns the lines of one kind since the last call.
func (l *log) take(kind string) (lines []string) {
	text := l.String()[l.taken:]
	l.taken += len(text)
	for line := range strings.Lines(text) {
		if _, after, ok := strings.Cut(line, kind+" "); ok {
			lines = append(lines, ids.ReplaceAllString(strings.TrimSuffix(after, "\n"), "<id>"))
		}
	}
	return lines
}

func (l *log) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.TimeKey, slog.LevelKey, "duration", "stack":
				return slog.Attr{}
			}
			return a
		},
	}))
}

// One line for each write of a known caller says how it ended, panics and
// refusals included; writes of other callers and reads leave none.
func TestAudit(t *testing.T) {
	var l log
	w := serve(t, func(w *world, c *routes.Config) {
		everything(w, c)
		c.Logger = l.logger(slog.LevelDebug)
	})
	const begun = " operation=<id> requested_event=<id> ended_event=<id>"
	line := func(result, more string) []string {
		return []string{"request_id=<id> subject=<id> action=start result=" + result + more}
	}
	for _, c := range []struct {
		name           string
		apply          func(context.Context, lifecycle.Operation) (lifecycle.Outcome, error)
		ended, billing error
		headers, body  string
		want           []string
	}{
		{name: "accepted", want: line("accepted", begun)},
		{name: "not sent", apply: ends(lifecycle.NotSent, away("x", nil)), want: line("failed", " status=503 reason=backend_unavailable"+begun)},
		{name: "no reply", apply: ends(lifecycle.Unknown, away("x", nil)), want: line("unknown", " status=503 reason=backend_unavailable"+begun)},
		{name: "rejected", apply: ends(lifecycle.Rejected, rejection("no_capacity", "x", nil)), want: line("failed", " status=502 reason=no_capacity"+begun)},
		{name: "any error", apply: ends(lifecycle.Unknown, errors.New("x")), want: line("unknown", " status=500 reason=internal_error"+begun)},
		{name: "panic", apply: panics, want: line("unknown", " status=500 reason=internal_error"+begun)},
		{name: "end not recorded", ended: errors.New("x"), want: line("unknown", " status=503 reason=backend_unavailable"+begun)},
		{name: "bad body", body: "x", want: line("refused", " status=400 reason=bad_request")},
		{name: "no scope", headers: bearer(token(account, "vm:read")), want: line("refused", " status=403 reason=insufficient_access")},
		{name: "denied", billing: deny(t.Context(), "", ""), want: line("refused", " status=402 reason=quota_exceeded")},
		{name: "billing broken", billing: errors.New("x"), want: line("failed", " status=500 reason=internal_error")},
		{name: "no token", headers: "X-None: 1\r\n"},
		{name: "bad token", headers: bearer("x.y.z")},
	} {
		w.runtime.apply = ends(lifecycle.Accepted, nil)
		if c.apply != nil {
			w.runtime.apply = c.apply
		}
		w.records.ended = func(_ string, outcome lifecycle.Outcome) (lifecycle.Outcome, error) { return outcome, c.ended }
		w.billing.answer = func(context.Context, string, string) error { return c.billing }
		w.call(t, "POST", "/api/v1/vm/start", cmp.Or(c.headers, both()), c.body)
		assert.Equal(t, c.want, l.take("msg=audit"), c.name)
	}
	w.call(t, "GET", "/api/v1/vm/status", both(), "")
	w.call(t, "DELETE", "/api/v1/vm/start", both(), "")
	assert.Empty(t, l.take("msg=audit"))
}

// Reads are logged at level debug only.
func TestReadsAreLoggedAtDebug(t *testing.T) {
	for level, want := range map[slog.Level][]string{
		slog.LevelDebug: {"request_id=<id> subject=<id>"},
		slog.LevelInfo:  nil,
	} {
		var l log
		w := serve(t, func(_ *world, c *routes.Config) { c.Logger = l.logger(level) })
		assert.Equal(t, state, w.call(t, "GET", "/api/v1/vm/status", both(), ""))
		assert.Equal(t, want, l.take("msg=read"), level)
	}
}
