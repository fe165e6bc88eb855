package faults

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// A static token that is refused ends the process: exit code 1, and one line
// that says which setting, what was refused and which scopes are needed.
func TestStaticTokenRefused(t *testing.T) {
	type row struct {
		kind     kind
		settings []string
		faults   platform.Faults // once it serves
		act      func(*rig, *gateway)
		words    []string
	}
	rows(t, map[string]row{
		"401 to a stream": {
			process, []string{"BUS_API_TOKEN=" + platform.Token("another secret, as long as it should be", platform.Claims{})},
			platform.Faults{}, nil, []string{"listening to", "401"},
		},
		"403 to a stream":       {process, []string{"BUS_API_TOKEN=" + mint("vm:read")}, platform.Faults{}, nil, []string{"listening to", "403", "vm:write"}},
		"401 to a publish":      {within, nil, platform.Faults{PublishStatus: 401}, publishOnce, []string{"publishing", "401", "billing:entitlement:check"}},
		"403 to a publish":      {within, nil, platform.Faults{PublishStatus: 403, Names: starts}, publishOnce, []string{"publishing bus.vm.start.request", "403", "vm:write"}},
		"401 to a reconnect":    {within, nil, platform.Faults{ListenStatus: 401}, cutAll, []string{"listening to", "401"}},
		"403, in a garbled way": {within, nil, platform.Faults{ListenStatus: 403, GarbageBody: true}, cutAll, []string{"listening to", "403"}},
	}, func(t *testing.T, c row) {
		r := newRig(t)
		g := r.launch(c.kind, r.home(), c.settings...)
		if c.act != nil {
			require.True(t, g.serving(), g.log)
			r.connected()
			r.wantWrite(g, start, http.StatusAccepted, "")
			r.Events.SetFaults(c.faults)
			c.act(r, g)
		}
		r.wantEnd(g, 1, append(c.words, "BUS_API_TOKEN")...)
		r.heal()
		r.wantWrite(r.begin(within, g.home), start, http.StatusAccepted, "")
	})
}

func publishOnce(r *rig, g *gateway) {
	r.wantWrite(g, start, http.StatusServiceUnavailable, unavailable)
}

func cutAll(r *rig, _ *gateway) { r.Events.CutStreams(platform.ReplyName(platform.StartRequest)) }

func mint(scope string) string {
	return platform.Token(eventsSecret, platform.Claims{Scope: scope})
}

// With a token file, or BUS_EVENTS_TOKEN_REFRESH, a refused token is read again,
// and the process goes on.
func TestTokenIsReplaced(t *testing.T) {
	rows(t, map[string]string{"revoked": platform.ProviderScope, "too few scopes": "vm:read usage:write"}, func(t *testing.T, scope string) {
		r := newRig(t)
		home := r.home()
		file := filepath.Join(home, "token")
		first := mint(scope)
		harness.Replace(t, file, first)
		if scope == platform.ProviderScope {
			r.Events.Revoke(first)
		}
		g := r.begin(within, home, "BUS_API_TOKEN_FILE="+file, "BUS_EVENTS_LISTENER_REQUIRED=1")
		r.wantWrite(g, start, http.StatusServiceUnavailable, unavailable)
		assert.Equal(t, http.StatusServiceUnavailable, g.ready(), "without streams")
		second := mint(platform.ProviderScope)
		harness.Replace(t, file, second)
		r.connected()
		r.wantWrite(g, start, http.StatusAccepted, "")

		// Once more, while it runs: the open streams go on, publishes are
		// refused until the file has another token.
		r.Events.Revoke(second)
		r.wantWrite(g, stop, http.StatusServiceUnavailable, unavailable)
		harness.Replace(t, file, "not a token at all")
		r.wantWrite(g, stop, http.StatusServiceUnavailable, unavailable)
		harness.Replace(t, file, mint(platform.ProviderScope))
		r.wantWrite(g, stop, http.StatusAccepted, "")
	})
	t.Run("settings file", func(t *testing.T) {
		r := newRig(t)
		home := r.home()
		file := filepath.Join(home, "settings.yaml")
		first := mint(platform.ProviderScope)
		harness.Replace(t, file, "events:\n  token: "+first)
		g := r.begin(within, home, "BUS_API_TOKEN=", "BUS_VM_CONFIG="+file, "BUS_EVENTS_TOKEN_REFRESH=1")
		r.connected()
		r.wantWrite(g, start, http.StatusAccepted, "")
		r.Events.Revoke(first)
		r.wantWrite(g, start, http.StatusServiceUnavailable, unavailable)
		harness.Replace(t, file, "events:\n  token: "+mint(platform.ProviderScope))
		r.wantWrite(g, start, http.StatusAccepted, "")
	})
}
