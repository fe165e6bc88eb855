package platform_test

import (
	"testing"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// An https platform works like any other, closes what is idle, and leaves the
// streams alone.
func TestTLS(t *testing.T) {
	p := startPlatform(t, platform.Config{TLS: true, IdleTimeout: 20 * time.Millisecond})
	token := platform.Token(platform.DevSecret, platform.Claims{Scope: platform.ProviderScope})
	trusting := platform.NewClient(p.URL(), token).Trust(p.Events.Roots())
	t.Cleanup(trusting.Close)
	send(t, trusting, platform.StatusRequest, "c", map[string]string{"runtime": "default"})
	must(t, p.Events.WaitAccepted(within(t), platform.ReplyName(platform.StatusRequest), 1))
	must(t, p.Events.WaitOnlyStreams(within(t)))
	must(t, p.WaitReady(within(t)))

	distrustful := platform.NewClient(p.URL(), token)
	t.Cleanup(distrustful.Close)
	if _, err := distrustful.Publish(within(t), platform.Message{Name: platform.StatusRequest, Payload: 0}); err == nil {
		t.Fatal("an unknown certificate was trusted")
	}
	must(t, p.Events.Kill())
	must(t, p.Events.Restart(true))
	must(t, p.WaitReady(within(t)))
	send(t, trusting, platform.StatusRequest, "d", map[string]string{"runtime": "default"})
}
