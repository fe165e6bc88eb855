package e2e

import (
	"crypto/elliptic"
	"encoding/base64"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// mintBy returns a token of an issuer with keys of its own.
func mintBy(s *hostile.Signer) string {
	token := s.Token(hostile.GoodClaims(time.Now()))
	logged.keepOut(token)
	return token
}

// otherForm is an ES256 token with the signature (r, n-s) in place of (r, s).
func otherForm(t *testing.T, token string) string {
	at := strings.LastIndexByte(token, '.') + 1
	signature, err := base64.RawURLEncoding.DecodeString(token[at:])
	require.NoError(t, err)
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(signature[32:])
	return token[:at] + base64.RawURLEncoding.EncodeToString(signature)
}

// Tokens of a JWKS work beside HS256 and without it, and those of a key that
// was taken out of the file are refused although they were remembered.
func TestJWKSFile(t *testing.T) {
	t.Parallel()
	rsa, ec, ed := hostile.NewSigner("RS256", "r"), hostile.NewSigner("ES256", "e"), hostile.NewSigner("EdDSA", "d")
	file := harness.File(t, "jwks.json", hostile.JWKS(rsa.JWK(), ec.JWK(), ed.JWK()))
	both := serve(t, nil, "--jwks-file", file)
	alone := serve(t, []string{noSecret, "BUS_VM_JWKS_FILE=" + file})
	without := serve(t, nil)
	require.True(t, both.accepts(t, mint("vm:read")))
	require.False(t, alone.accepts(t, mint("vm:read")), "HS256 without a secret")
	for _, signer := range []*hostile.Signer{rsa, ec, ed} {
		token := mintBy(signer)
		require.False(t, without.accepts(t, token), signer.Algorithm)
		for range 2 {
			require.True(t, both.accepts(t, token) && alone.accepts(t, token), signer.Algorithm)
		}
	}

	require.True(t, alone.accepts(t, otherForm(t, mintBy(ec))), "docs/security.md says so")

	token, kept := mintBy(ec), mintBy(ed)
	require.True(t, alone.accepts(t, token) && both.accepts(t, token))
	harness.Replace(t, file, hostile.JWKS(ed.JWK()))
	alone.hangUp(t)
	require.True(t, alone.accepts(t, kept))
	require.False(t, alone.accepts(t, token))
	harness.Eventually(t, "followed without a signal", func() bool { return !both.accepts(t, token) })
	require.True(t, both.accepts(t, kept))

	harness.Replace(t, file, hostile.JWKS(ec.JWK(), hostile.NewSigner("ES256", "e").JWK(), rsa.JWK(`"kid":"r"`), ed.JWK()))
	alone.hangUp(t)
	require.True(t, alone.accepts(t, kept) && alone.accepts(t, token), "a repeated kid leaves out one key")
	require.False(t, alone.accepts(t, mintBy(rsa)))
	harness.Replace(t, file, hostile.JWKS(ed.JWK()))
	alone.hangUp(t)

	harness.Replace(t, file, hostile.JWKS(ec.JWK(), `{"kty":"oct","k":"c2VjcmV0"}`))
	alone.hangUp(t)
	require.Contains(t, alone.stderr.String(), "the document holds a symmetric key, which must never be published")
	require.True(t, alone.accepts(t, kept) && !alone.accepts(t, token), "the last good keys stay")
}

// An issuer is away at first, publishes a key, rolls it, and breaks: /readyz
// waits for the first keys, and the last good ones stay.
func TestJWKSURL(t *testing.T) {
	t.Parallel()
	before, after := hostile.NewSigner("RS256", "before"), hostile.NewSigner("ES256", "after")
	var document atomic.Value
	document.Store("")
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		text := document.Load().(string)
		if text == "" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(issuer.Close)
	g := serve(t, nil, "--jwks-url", issuer.URL+"/jwks")
	ready := func() bool {
		return strings.HasPrefix(ask(t, g.addr, request("GET /readyz", "")), "200 ")
	}
	fetched := func(keys string) {
		t.Helper()
		g.hangUp(t)
		harness.Eventually(t, keys, func() bool { return strings.Contains(g.stderr.String(), `keys="[`+keys+`]"`) })
	}
	require.False(t, ready())
	require.True(t, g.accepts(t, mint("vm:read")), "HS256 does not wait for it")
	require.Contains(t, ask(t, g.addr, request("GET "+statusPath, mintBy(before))), `"backend_unavailable"`)

	document.Store(hostile.JWKS(before.JWK()))
	harness.Eventually(t, "ready by itself", ready)
	old := mintBy(before)
	require.True(t, g.accepts(t, old) && !g.accepts(t, mintBy(after)))

	document.Store(hostile.JWKS(before.JWK(), after.JWK()))
	fetched("before (RS256) after (ES256)")
	require.True(t, g.accepts(t, old) && g.accepts(t, mintBy(after)))

	document.Store(hostile.JWKS(after.JWK()))
	fetched("after (ES256)")
	require.False(t, g.accepts(t, old), "a remembered token outlived its key")
	require.True(t, g.accepts(t, mintBy(after)))

	document.Store("<html>")
	g.hangUp(t)
	harness.Eventually(t, "told", func() bool { return strings.Contains(g.stderr.String(), "the last good ones stay in force") })
	require.True(t, ready() && g.accepts(t, mintBy(after)))
}
