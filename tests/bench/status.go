package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// The entrants of the part on refusals.
const (
	accepted     = "new token, accepted"
	noToken      = "no token"
	badSignature = "bad signature"
	expiredToken = "expired"
	expiredOnce  = "expired, never seen before"
	missingScope = "scope missing"
)

// freshPerSecond is more requests than any server answers in a second here.
const freshPerSecond = 150_000

// warm is the main case: status with one token that was seen before.
func (b *bench) warm(ctx context.Context) {
	warm := load{token: b.mint.token(good), seconds: b.seconds}
	results := b.compare(ctx, b.rounds, append([]spec{gatewaySpec}, peers...), always(warm))
	t := b.report.loadTable("Status, warm token", "One token, seen before; authentication, audience, scope and request id are on.", results)
	t.limit("warm: CPU ≤ 1.10 × bare fasthttp", results, gatewayName, fasthttpPeer, 1.10,
		"bare fasthttp routes, checks and counts nothing")
	t.limit("warm: CPU ≤ 0.65 × HAProxy jwt_verify", results, gatewayName, haproxyPeer, 0.65, "")
	t.limit("warm: CPU ≤ 0.52 × Fiber + contrib/jwt", results, gatewayName, fiberJWTPeer, 0.52,
		"two thirds of a read are the kernel's, the same for both")
}

// cold sends every token once.
func (b *bench) cold(ctx context.Context) {
	results := b.compare(ctx, b.rounds, pick(gatewayName, fiberJWTPeer, haproxyPeer), func() load {
		return b.freshLoad("tokens", good)
	})
	t := b.report.loadTable("Status, tokens never seen before", "Every request brings a valid token that its server has not seen.", results)
	t.limit("new tokens: CPU ≤ 1.10 × Fiber + contrib/jwt", results, gatewayName, fiberJWTPeer, 1.10,
		"both spend most of it in golang-jwt; this gateway checks the claims strictly, and the signature before it decodes")
}

// refused compares every way to be refused with being accepted the long way.
func (b *bench) refused(ctx context.Context) {
	s := b.start(ctx, gatewaySpec)
	defer s.stop()
	refusals := []entrant{
		{noToken, s, load{refused: true, seconds: b.seconds}},
		{badSignature, s, load{token: b.mint.forged(), refused: true, seconds: b.seconds}},
		{expiredToken, s, load{token: b.mint.token(expired), refused: true, seconds: b.seconds}},
		{missingScope, s, load{token: b.mint.token(noRead), refused: true, seconds: b.seconds}},
	}
	results := b.interleave(ctx, b.rounds, func() []entrant {
		l, late := b.freshLoad("tokens", good), b.freshLoad("expired", expired)
		late.refused = true
		return append([]entrant{{accepted, s, l}, {expiredOnce, s, late}}, refusals...)
	})
	t := b.report.loadTable("Refusals", "What a refusal costs this gateway, beside accepting a token it has not seen. Each kind is one token again and again, but where it says otherwise.", results)
	for _, e := range refusals {
		t.limit("refused, "+e.name+": CPU ≤ a new token accepted", results, e.name, accepted, 1, "")
	}
}

// waits measures how long after the Events API was given a changed status the caller who
// waits for it is answered. That is from before it reaches the gateway.
func (b *bench) waits(ctx context.Context) {
	p := must(startPlatform())
	defer p.Close()
	s := b.start(ctx, eventsSpec(gatewayName, p, "BUS_VM_STATUS_REFRESH=50ms"))
	defer s.stop()
	token, tag := b.mint.token(good), "none"
	read := func() string { // until the state changes
		request := must(http.NewRequestWithContext(ctx, http.MethodGet, s.url(), nil))
		request.Header = http.Header{"Authorization": {"Bearer " + token}, "Prefer": {"wait=10"}, "If-None-Match": {tag}}
		response := must(http.DefaultTransport.RoundTrip(request))
		defer response.Body.Close()
		tag = response.Header.Get("ETag")
		return string(must(io.ReadAll(response.Body)))
	}
	read()
	var took []float64
	for i := range 50 * b.seconds {
		state, changed := fmt.Sprintf(`"state %d"`, i), make(chan error, 1)
		go func() {
			changed <- caught(func() {
				for b.metric(ctx, s, "bus_vm_waits_open") == 0 {
					check(pause(ctx, time.Millisecond))
				}
				p.VM.SetState(strings.Trim(state, `"`))
			})
		}()
		document, answered := read(), time.Now()
		check(<-changed)
		replies := p.Events.Published(platform.ReplyName(platform.StatusRequest))
		first := slices.IndexFunc(replies, func(reply platform.Published) bool { return strings.Contains(string(reply.Payload), state) })
		if first < 0 || !strings.Contains(document, state) {
			check(fmt.Errorf("a wait for %s was answered with %s", state, document))
		}
		took = append(took, milliseconds(answered.Sub(replies[first].At)))
	}
	slices.Sort(took)
	median := took[len(took)/2]
	b.report.goal("wait: answered p50 ≤ 2 ms after the status", fmt.Sprintf("%.2f ms, p99 %.2f ms", median, took[len(took)*99/100]), median, 2,
		"the Events API and the caller share a core")
}

// fewer is how many rounds writes take, which spread less: half.
func (b *bench) fewer() int { return (b.rounds + 1) / 2 }

// freshLoad mints tokens for one turn of each server.
func (b *bench) freshLoad(name string, c claims) load {
	n := freshPerSecond * b.seconds
	return load{tokens: b.mint.file(filepath.Join(b.dir, name), n, c), fresh: n, seconds: b.seconds}
}
