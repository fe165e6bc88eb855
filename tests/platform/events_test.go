package platform_test

import (
	"context"
	"go/parser"
	"go/token"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// The platform judges the provider, so it shares no code with it.
func TestImportsNothingOfTheProvider(t *testing.T) {
	const module = "github.com/busdk/bus-api-provider-vm/"
	for _, dir := range []string{".", "cmd/busstack"} {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, entry := range entries {
			if !strings.HasSuffix(entry.Name(), ".go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), dir+"/"+entry.Name(), nil, parser.ImportsOnly)
			require.NoError(t, err)
			for _, imported := range file.Imports {
				path, ours := strings.CutPrefix(strings.Trim(imported.Path.Value, `"`), module)
				require.False(t, ours && path != "tests/platform", "%s imports %s", entry.Name(), path)
			}
		}
	}
}

// What the Events API refuses of a provider: a wrong token, a missing scope, a
// name or body that is not allowed.
func TestEventsRefuses(t *testing.T) {
	e := startEvents(t)
	good := platform.ProviderToken(platform.DevSecret)
	mint := func(c platform.Claims) string { return platform.Token(platform.DevSecret, c) }
	revoked := platform.ProviderToken(platform.DevSecret)
	e.Revoke(revoked)
	const start, listen = `{"name":"bus.vm.start.request","correlationId":"c","payload":{}}`, "/stream?follow=false&name="
	for name, c := range map[string]struct {
		method, path, token, body string
		status                    int
	}{
		"good":               {"POST", "", good, start, 202},
		"not a token":        {"POST", "", "nonsense", start, 401},
		"another secret":     {"POST", "", platform.ProviderToken("another"), start, 401},
		"expired":            {"POST", "", mint(platform.Claims{Scope: "vm:write", TTL: -time.Minute}), start, 401},
		"another audience":   {"POST", "", mint(platform.Claims{Scope: "vm:write", Audience: "ai.hg.fi/auth"}), start, 401},
		"revoked":            {"POST", "", revoked, start, 401},
		"scope missing":      {"POST", "", mint(platform.Claims{Scope: "vm:read vm:writer"}), start, 403},
		"unknown bus name":   {"POST", "", good, `{"name":"bus.vm.delete.request","payload":{}}`, 403},
		"two documents":      {"POST", "", good, start + start, 400},
		"no payload":         {"POST", "", good, `{"name":"bus.vm.start.request"}`, 400},
		"wildcard":           {"POST", "", good, `{"name":"bus.vm.*","payload":{}}`, 400},
		"ids differ":         {"POST", "", good, `{"name":"bus.vm.start.request","correlationId":"a","correlation_id":"b","payload":{}}`, 400},
		"too large":          {"POST", "", good, `{"name":"x.y","payload":"` + strings.Repeat("x", 1<<20) + `"}`, 413},
		"another path":       {"POST", "/api/v1/events", good, start, 404},
		"listening":          {"GET", listen + "bus.vm.start.response", good, "", 200},
		"listening unscoped": {"GET", listen + "bus.vm.start.response", mint(platform.Claims{Scope: "vm:read"}), "", 403},
		"all names":          {"GET", listen + "bus.vm.%3E", good, "", 400},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := call(t, c.method, e.URL()+"/api/v1/events"+c.path, c.token, c.body)
			require.Equal(t, c.status, status, body)
		})
	}
	require.Equal(t, 1, e.Accepted(platform.StartRequest))
}

// Broadcast reaches every listener of the same subject, unicast one of a group;
// replay comes first, and a group that returns finds what it missed.
func TestDelivery(t *testing.T) {
	e := startEvents(t)
	const query, unicast = "name=" + ping, "name=" + ping + "&delivery=unicast&replay=true&group=g"
	send(t, e, ping, "1")
	broadcast, replayed, other := listen(t, e, "", query), listen(t, e, "", query+"&replay=true"), listen(t, e, "them", query+"&replay=true")
	a, b := listen(t, e, "", unicast), listen(t, e, "", unicast)
	for _, id := range []string{"2", "3"} {
		send(t, e, ping, id)
	}
	require.Equal(t, []string{"2", "3"}, broadcast.correlations(t, 2))
	require.Equal(t, []string{"1", "2", "3"}, replayed.correlations(t, 3))
	require.Equal(t, []string{"1", "2", "3"}, append(a.correlations(t, 2), b.correlations(t, 1)...))
	require.Equal(t, []string{"1", "2", "3"}, listen(t, e, "", query+"&replay=true&follow=false").correlations(t, 3))

	require.Equal(t, 5, e.CutStreams(ping))
	_, err := other.ReadString('\n')
	require.ErrorIs(t, err, syscall.ECONNRESET, "another identity got something")
	send(t, e, ping, "4")
	require.Equal(t, []string{"4"}, listen(t, e, "", unicast).correlations(t, 1))
}

// Stop is orderly and Kill is not; Restart keeps the address, and the history
// where it is told to.
func TestStopKillRestart(t *testing.T) {
	e := startEvents(t)
	url := e.URL()
	for _, c := range []struct {
		end  func() error
		seen error
		keep bool
		want []string
	}{
		{e.Stop, io.EOF, true, []string{"old", "new"}},
		{e.Kill, syscall.ECONNRESET, false, []string{"new"}},
	} {
		send(t, e, ping, "old")
		r := listen(t, e, "", "name="+ping)
		require.NoError(t, c.end())
		_, err := r.ReadByte()
		require.ErrorIs(t, err, c.seen)
		require.NoError(t, e.Restart(c.keep))
		require.Equal(t, url, e.URL())
		send(t, e, ping, "new")
		require.Equal(t, c.want, listen(t, e, "", "name="+ping+"&replay=true&follow=false").correlations(t, len(c.want)))
		require.NoError(t, e.Stop())
		require.NoError(t, e.Restart(false))
	}
}

// A fault that does not strike would make a test of it pass without a reason:
// each line fault, as the lines that a listener reads of one event.
func TestLineFaultsStrike(t *testing.T) {
	const noise = `[^\n]*\n`
	id := func(correlation string) string { return `\{[^\n]*"correlationId":"` + correlation + `"[^\n]*\}\n` }
	for name, c := range map[string]struct {
		faults platform.Faults
		want   string
	}{
		"none":            {platform.Faults{}, id("c")},
		"garbage lines":   {platform.Faults{GarbageLines: true}, `\}\{` + noise + id("c")},
		"truncate":        {platform.Faults{Truncate: true}, `\{[^}\n]*\n`},
		"cut line":        {platform.Faults{CutLine: true}, `\{[^}\n]*`},
		"long line":       {platform.Faults{LongLine: 1 << 20}, `\{"padding":"x+",[^\n]*"correlationId":"c"` + noise},
		"repeated id":     {platform.Faults{RepeatID: true}, `\{"correlationId":"[^"]{36}",[^\n]*"correlationId":"c"` + noise},
		"blank":           {platform.Faults{Blank: true}, `\n \t\n\r\n` + id("c")},
		"CRLF":            {platform.Faults{CRLF: true}, `\{[^\n]*\}\r\n`},
		"unknown":         {platform.Faults{Unknown: true}, `\{[^\n]*"correlationId":"c"[^\n]*"x_future":` + noise},
		"snake case":      {platform.Faults{Spelling: platform.SpellSnake}, `\{"id":"[^"]*","name":"[^"]*","correlation_id":"c"` + noise},
		"both":            {platform.Faults{Spelling: platform.SpellBoth}, `\{[^\n]*"correlationId":"c","correlation_id":"c"` + noise},
		"duplicate":       {platform.Faults{Duplicate: true}, id("c") + id("c")},
		"foreign replies": {platform.Faults{Foreign: 2}, `(\{[^\n]*"correlationId":"[^"]{36}"[^\n]*\n){2}` + id("c")},
		"another name":    {platform.Faults{Truncate: true, Names: []string{ping}}, id("c")},
		"rate":            {platform.Faults{Truncate: true, Rate: 1e-12}, id("c")},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEvents(t)
			r := listen(t, e, "", "name="+pong)
			e.SetFaults(c.faults)
			send(t, e, pong, "c")
			_, err := r.Peek(1) // all lines of an event are written at once
			require.NoError(t, err)
			e.SetFaults(platform.Faults{})
			send(t, e, pong, "healed")
			got := ""
			for !strings.Contains(got, "healed") && err == nil {
				var line string
				line, err = r.ReadString('\n')
				got += line
			}
			if c.faults.CutLine {
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			} else {
				c.want += id("healed")
			}
			require.Regexp(t, `^`+c.want+`$`, got)
		})
	}
}

// The same for the answers to a publish: what the client sees, and whether the
// publish was processed.
func TestPublishFaultsStrike(t *testing.T) {
	for name, c := range map[string]struct {
		faults    platform.Faults
		processed int
		want      string
	}{
		"status":       {platform.Faults{PublishStatus: 503}, 0, "status 503: "},
		"processed":    {platform.Faults{AnswerStatus: 524}, 1, "status 524: "},
		"garbage body": {platform.Faults{GarbageBody: true}, 1, "the answer is not an acceptance"},
		"garbage HTTP": {platform.Faults{GarbageHTTP: true}, 0, "malformed HTTP"},
		"cut":          {platform.Faults{CutPublish: true}, 1, "connection reset"},
		"stall":        {platform.Faults{Stall: true}, 0, "deadline exceeded"},
		"delay":        {platform.Faults{Delay: time.Hour}, 1, "deadline exceeded"},
		"slow answer":  {platform.Faults{AnswerDelay: time.Hour}, 1, "deadline exceeded"},
		"of another":   {platform.Faults{PublishStatus: 503, Names: []string{pong}}, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEvents(t)
			e.SetFaults(c.faults)
			ctx := within(t)
			if c.want == "deadline exceeded" {
				short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
				defer cancel()
				ctx = short
			}
			_, err := client(t, e, platform.Claims{Scope: pingScope}).Publish(ctx, platform.Message{Name: ping, Payload: 0})
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
			require.NoError(t, e.WaitAccepted(within(t), ping, c.processed))
			require.Equal(t, c.processed, e.Accepted(ping))
			e.SetFaults(platform.Faults{})
			if c.faults.Stall {
				require.NoError(t, e.WaitAccepted(within(t), ping, 1), "it is carried out afterwards")
			}
		})
	}
}

// A half-open stream never speaks again; Reorder loses nothing.
func TestHalfOpenAndReorder(t *testing.T) {
	e := startEvents(t)
	dead := listen(t, e, "", "name="+pong)
	e.SetFaults(platform.Faults{HalfOpen: true})
	send(t, e, pong, "lost")
	e.SetFaults(platform.Faults{Reorder: 5})
	r := listen(t, e, "", "name="+pong)
	var want []string
	for id := range strings.SplitSeq("abcdefghijklmnopqrstuvwxyz", "") {
		want = append(want, id)
		send(t, e, pong, id)
	}
	got := r.correlations(t, len(want))
	require.NotEqual(t, want, got)
	require.ElementsMatch(t, want, got)
	require.NoError(t, e.Stop())
	rest, err := io.ReadAll(dead)
	require.NoError(t, err)
	require.Empty(t, rest)
}
