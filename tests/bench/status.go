package main

import (
	"context"
	"path/filepath"
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

// fewer is how many rounds writes take, which spread less: half.
func (b *bench) fewer() int { return (b.rounds + 1) / 2 }

// freshLoad mints tokens for one turn of each server.
func (b *bench) freshLoad(name string, c claims) load {
	n := freshPerSecond * b.seconds
	return load{tokens: b.mint.file(filepath.Join(b.dir, name), n, c), fresh: n, seconds: b.seconds}
}
