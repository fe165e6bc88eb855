package platform_test

import (
	"context"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// The platform judges the provider, so it shares no code with it.
func TestImportsNothingOfTheProvider(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "./...").Output()
	require.NoError(t, err)
	for path := range strings.Lines(string(out)) {
		own, ours := strings.CutPrefix(path, "github.com/busdk/bus-api-provider-vm/")
		require.False(t, ours && !strings.HasPrefix(own, "tests/platform"), path)
	}
}

// What the Events API refuses of a provider: a wrong token, a missing scope, a
// name or body that is not allowed. TestTokenIsReplaced of tests/faults has one that is
// revoked.
func TestEventsRefuses(t *testing.T) {
	p := begin(t)
	mint := func(c platform.Claims) string { return platform.Token(platform.DevSecret, c) }
	good := p.ProviderToken()
	const startRequest, stream = `{"name":"bus.vm.start.request","correlationId":"c","payload":{}}`, "/stream?delivery=broadcast&follow=false&name="
	for name, c := range map[string]struct {
		method, path, token, body string
		status                    int
	}{
		"good":               {"POST", "", good, startRequest, 202},
		"not a token":        {"POST", "", "malformed", startRequest, 401},
		"another secret":     {"POST", "", platform.Token("another", platform.Claims{Scope: every}), startRequest, 401},
		"expired":            {"POST", "", mint(platform.Claims{Scope: every, TTL: -time.Minute}), startRequest, 401},
		"another audience":   {"POST", "", mint(platform.Claims{Scope: every, Audience: "ai.hg.fi/auth"}), startRequest, 401},
		"scope missing":      {"POST", "", mint(platform.Claims{Scope: "vm:read vm:writer"}), startRequest, 403},
		"unknown bus name":   {"POST", "", mint(platform.Claims{Scope: every}), `{"name":"bus.vm.delete.request","payload":{}}`, 403},
		"two documents":      {"POST", "", good, startRequest + startRequest, 400},
		"no payload":         {"POST", "", good, `{"name":"bus.vm.start.request"}`, 400},
		"wildcard":           {"POST", "", good, `{"name":"bus.vm.*","payload":{}}`, 400},
		"listening unscoped": {"GET", stream + "bus.vm.start.response", mint(platform.Claims{Scope: "vm:read"}), "", 403},
	} {
		require.Equal(t, c.status, call(t, c.method, p.URL()+"/api/v1/events"+c.path, c.token, c.body).StatusCode, name)
	}
	require.Equal(t, 1, p.Events.Accepted(platform.StartRequest))
}

// Broadcast reaches every listener of the same subject, unicast one of a group;
// replay comes first, and a group that returns finds what it missed.
func TestDelivery(t *testing.T) {
	p := begin(t)
	const query, unicast = "delivery=broadcast&name=" + ping, "name=" + ping + "&delivery=unicast&replay=true&group=g"
	send(t, p, ping, "1", 0)
	broadcast, replayed, other := listen(t, p, "", query), listen(t, p, "", query+"&replay=true"), listen(t, p, "them", query+"&replay=true")
	a, b := listen(t, p, "", unicast), listen(t, p, "", unicast)
	for _, id := range []string{"2", "3"} {
		send(t, p, ping, id, 0)
	}
	require.Equal(t, []string{"2", "3"}, broadcast.correlations(t, 2))
	require.Equal(t, []string{"1", "2", "3"}, replayed.correlations(t, 3))
	require.Equal(t, []string{"1", "2", "3"}, append(a.correlations(t, 2), b.correlations(t, 1)...))
	require.Equal(t, []string{"1", "2", "3"}, listen(t, p, "", query+"&replay=true&follow=false").correlations(t, 3))

	require.Equal(t, 5, p.Events.CutStreams(ping))
	_, err := other.ReadString('\n')
	require.ErrorIs(t, err, syscall.ECONNRESET, "another identity got something")
	send(t, p, ping, "4", 0)
	require.Equal(t, []string{"4"}, listen(t, p, "", unicast).correlations(t, 1))
}

// Stop is orderly and Kill is not; Restart keeps the address, and the history
// where it is told to.
func TestStopKillRestart(t *testing.T) {
	p := begin(t)
	url := p.URL()
	for _, c := range []struct {
		end  func() error
		seen error
		keep bool
		want []string
	}{
		{p.Events.Stop, io.EOF, true, []string{"old", "new"}},
		{p.Events.Kill, syscall.ECONNRESET, false, []string{"new"}},
	} {
		send(t, p, ping, "old", 0)
		r := listen(t, p, "", "delivery=broadcast&name="+ping)
		require.NoError(t, c.end())
		_, err := r.ReadByte()
		require.ErrorIs(t, err, c.seen)
		require.NoError(t, p.Events.Restart(c.keep))
		require.Equal(t, url, p.URL())
		send(t, p, ping, "new", 0)
		require.Equal(t, c.want, listen(t, p, "", "delivery=broadcast&name="+ping+"&replay=true&follow=false").correlations(t, len(c.want)))
		require.NoError(t, p.Events.Restart(false))
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
		"snake case":      {platform.Faults{SnakeID: true}, `\{"id":"[^"]*","name":"[^"]*","correlation_id":"c"` + noise},
		"both":            {platform.Faults{SnakeID: true, BothIDs: true}, `\{[^\n]*"correlationId":"c","correlation_id":"c"` + noise},
		"duplicate":       {platform.Faults{Duplicate: true}, id("c") + id("c")},
		"foreign replies": {platform.Faults{Foreign: 2}, `(\{[^\n]*"correlationId":"[^"]{36}"[^\n]*\n){2}` + id("c")},
		"another name":    {platform.Faults{Truncate: true, Names: []string{ping}}, id("c")},
		"rate":            {platform.Faults{Truncate: true, Rate: 1e-12}, id("c")},
	} {
		t.Run(name, func(t *testing.T) {
			p := begin(t)
			r := listen(t, p, "", "delivery=broadcast&name="+pong)
			p.Events.SetFaults(c.faults)
			send(t, p, pong, "c", 0)
			_, err := r.Peek(1) // all lines of an event are written at once
			require.NoError(t, err)
			p.Events.SetFaults(platform.Faults{})
			send(t, p, pong, "healed", 0)
			got := ""
			for line := ""; !strings.Contains(got, "healed") && err == nil; got += line {
				line, err = r.ReadString('\n')
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
// publish was processed. Of those that are not here, tests/faults shows that they strike.
func TestPublishFaultsStrike(t *testing.T) {
	for name, c := range map[string]struct {
		faults    platform.Faults
		processed int
		want      string
	}{
		"garbage body": {platform.Faults{GarbageBody: true}, 1, "the answer is not an acceptance"},
		"cut":          {platform.Faults{CutPublish: true}, 1, "connection reset"},
		"delay":        {platform.Faults{Delay: time.Hour}, 1, "deadline exceeded"},
		"slow answer":  {platform.Faults{AnswerDelay: time.Hour}, 1, "deadline exceeded"},
		"of another":   {platform.Faults{PublishStatus: 503, Names: []string{pong}}, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := begin(t)
			p.Events.SetFaults(c.faults)
			ctx := within(t)
			if c.want == "deadline exceeded" {
				short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
				defer cancel()
				ctx = short
			}
			err := publish(t, ctx, p, ping, "", 0)
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
			require.NoError(t, p.Events.WaitAccepted(within(t), ping, c.processed))
			require.Equal(t, c.processed, p.Events.Accepted(ping))
		})
	}
}

// A half-open stream never speaks again; Reorder loses nothing.
func TestHalfOpenAndReorder(t *testing.T) {
	p := begin(t)
	dead := listen(t, p, "", "delivery=broadcast&name="+pong)
	p.Events.SetFaults(platform.Faults{HalfOpen: true})
	send(t, p, pong, "lost", 0)
	p.Events.SetFaults(platform.Faults{})
	r := listen(t, p, "", "delivery=broadcast&name="+pong)
	p.Events.SetFaults(platform.Faults{Reorder: 5, Stall: true}) // of what listeners get: all is there before the first
	var want []string
	for id := range strings.SplitSeq("abcdefghijklmnopqrstuvwxyz", "") {
		want = append(want, id)
		send(t, p, pong, id, 0)
	}
	p.Events.SetFaults(platform.Faults{Reorder: 5})
	got := r.correlations(t, len(want))
	require.NotEqual(t, want, got)
	require.ElementsMatch(t, want, got)
	require.NoError(t, p.Events.Stop())
	rest, err := io.ReadAll(dead)
	require.NoError(t, err)
	require.Empty(t, rest)
}
