package routes_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/routes"
)

// log is what the routes logged, without what differs between two runs.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

var ids = regexp.MustCompile(`[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f-]{27}`)

// take returns the lines of one kind so far, and forgets all lines.
func (l *log) take(kind string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []string
	for line := range strings.Lines(l.b.String()) {
		if _, after, ok := strings.Cut(line, kind+" "); ok {
			lines = append(lines, ids.ReplaceAllString(strings.TrimSuffix(after, "\n"), "<id>"))
		}
	}
	l.b.Reset()
	return lines
}

func (l *log) logger() *slog.Logger { return l.loggerFrom(slog.LevelDebug) }

func (l *log) loggerFrom(level slog.Level) *slog.Logger {
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
		c.Logger = l.logger()
	})
	const begun = " operation=<id> requested_event=<id> ended_event=<id>"
	write := func(headers, body string) func() {
		return func() { w.call(t, "POST", "/api/v1/vm/start", headers, body) }
	}
	outcome := func(outcome backend.Outcome, err error) func() {
		return func() {
			w.runtime.apply = ends(outcome, err)
			write(both(), "")()
			w.runtime.apply = ends(backend.Accepted, nil)
		}
	}
	line := func(result, more string) []string {
		return []string{"request_id=<id> subject=<id> action=start result=" + result + more}
	}
	for _, c := range []struct {
		name string
		do   func()
		want []string
	}{
		{"accepted", outcome(backend.Accepted, nil), line("accepted", begun)},
		{"not sent", outcome(backend.NotSent, away("x", nil)), line("failed", " status=503 reason=backend_unavailable"+begun)},
		{"no reply", outcome(backend.Unknown, away("x", nil)), line("unknown", " status=503 reason=backend_unavailable"+begun)},
		{"rejected", outcome(backend.Rejected, rejection("no_capacity", "x", nil)), line("failed", " status=502 reason=no_capacity"+begun)},
		{"any error", outcome(backend.Unknown, errors.New("x")), line("unknown", " status=500 reason=internal_error"+begun)},
		{"panic", func() {
			w.runtime.apply = func(context.Context, backend.Operation) (backend.Outcome, error) { panic("x") }
			write(both(), "")()
			w.runtime.apply = ends(backend.Accepted, nil)
		}, line("unknown", " status=500 reason=internal_error"+begun)},
		{"end not recorded", func() {
			w.records.ended = func(backend.Operation, lifecycle.Outcome) error { return errors.New("x") }
			write(both(), "")()
			w.records.ended = func(backend.Operation, lifecycle.Outcome) error { return nil }
		}, line("unknown", " status=503 reason=backend_unavailable"+begun)},
		{"bad body", write(both(), "x"), line("refused", " status=400 reason=bad_request")},
		{"no scope", write(bearer(token(account, "vm:read")), ""), line("refused", " status=403 reason=insufficient_access")},
		{"denied", func() {
			w.billing.answer = deny
			write(both(), "")()
			w.billing.answer = func(context.Context, string, string) error { return nil }
		}, line("refused", " status=402 reason=quota_exceeded")},
		{"billing broken", func() {
			w.billing.answer = func(context.Context, string, string) error { return errors.New("x") }
			write(both(), "")()
			w.billing.answer = func(context.Context, string, string) error { return nil }
		}, line("failed", " status=500 reason=internal_error")},
		{"no token", write("", ""), nil},
		{"bad token", write(bearer("x.y.z"), ""), nil},
		{"status", func() { w.call(t, "GET", "/api/v1/vm/status", both(), "") }, nil},
		{"other method", func() { w.call(t, "DELETE", "/api/v1/vm/start", both(), "") }, nil},
	} {
		c.do()
		assert.Equal(t, c.want, l.take("msg=audit"), c.name)
	}
}

// Reads are logged at level debug only.
func TestReadsAreLoggedAtDebug(t *testing.T) {
	for level, want := range map[slog.Level][]string{
		slog.LevelDebug: {"request_id=<id> subject=<id>"},
		slog.LevelInfo:  nil,
	} {
		var l log
		w := serve(t, func(_ *world, c *routes.Config) { c.Logger = l.loggerFrom(level) })
		assert.Equal(t, state, w.call(t, "GET", "/api/v1/vm/status", both(), ""))
		assert.Equal(t, want, l.take("msg=read"), level)
	}
}
