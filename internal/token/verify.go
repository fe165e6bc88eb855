// Package token verifies the bearer tokens that callers send (RFC 7519), and
// mints such tokens for development.
package token

import (
	"cmp"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/golang-jwt/jwt/v5"
)

// Audience is what the tokens of this API are issued for, unless Config says
// otherwise.
const Audience = "ai.hg.fi/api"

// Config configures a Verifier, and the handler in front of it.
type Config struct {
	// Secrets verify HS256 signatures; any of them will do. At least one, unless
	// there are PublicKeys.
	Secrets [][]byte
	// PublicKeys verify RS256, ES256 and EdDSA signatures. Nil, which refuses
	// these algorithms, is not the same as a set that is empty for now.
	PublicKeys PublicKeys
	// UnknownKey is called when a token names a public key that is not there, or
	// there are none yet. Any client can cause it, and a request waits for it;
	// nil for nothing.
	UnknownKey func()
	// Audiences are what a token may be issued for: it must name one of them
	// exactly. None means Audience.
	Audiences []string
	// Leeway is granted on exp and nbf for clocks that disagree; default 0.
	Leeway time.Duration
	// CacheSize bounds how many verified tokens are remembered; below 1, 65,536
	// are. One of more than a kilobyte counts as several.
	CacheSize int
	// Logger gets the reason of each refusal at debug level; default none.
	Logger *slog.Logger
	// Metrics gets the counters of the verified-token cache; nil for none.
	Metrics *metrics.Set
	// Now is the clock; default the arrival time of the request.
	Now func() time.Time
}

// Identity is the verified caller of a request. It is shared between requests
// and must not be changed.
type Identity struct {
	// Subject is the stable identity id of the token (`sub`).
	Subject string
	// Scopes are the granted scopes, split at the ASCII space (RFC 6749 §3.3).
	Scopes []string

	validity
	verifiedUntil time.Time // when the signature is checked again
}

// Expires returns the `exp` of the token.
func (id *Identity) Expires() time.Time {
	seconds, rest := math.Modf(id.ExpiresAt)
	return time.Unix(int64(seconds), int64(rest*float64(time.Second)))
}

// Verifier verifies bearer tokens and remembers the ones it verified. A token
// that Recall does not know goes to Check, then through golang-jwt with Key and
// RawClaims, then to Accept.
type Verifier struct {
	config  Config
	setting sync.Mutex // held while the ring is replaced
	ring    atomic.Pointer[keyRing]
	// lastHeader is likely to be that of the next token: those of an issuer
	// have the same one until it rolls its key.
	lastHeader atomic.Pointer[header]

	hits, misses *metrics.Counter
}

// NewVerifier returns a Verifier, or ErrNoKeys for unusable keys.
func NewVerifier(config Config) (*Verifier, error) {
	if len(config.Audiences) == 0 {
		config.Audiences = []string{Audience}
	}
	if config.CacheSize < 1 {
		config.CacheSize = defaultCacheSize
	}
	config.Metrics = cmp.Or(config.Metrics, metrics.NewSet())
	v := &Verifier{
		config: config,
		hits:   config.Metrics.NewCounter(`bus_vm_token_cache_requests_total{result="hit"}`),
		misses: config.Metrics.NewCounter(`bus_vm_token_cache_requests_total{result="miss"}`),
	}
	config.Metrics.NewGauge("bus_vm_token_cache_entries", func() float64 {
		return float64(v.ring.Load().verified.entries.EstimatedSize())
	})
	v.ring.Store(&keyRing{public: config.PublicKeys})
	if err := v.SetSecrets(config.Secrets); err != nil {
		return nil, err
	}
	return v, nil
}

// Recall returns the caller of a token that was verified a moment ago and is
// valid now, nil for a token that it does not know.
func (v *Verifier) Recall(token string, now time.Time) (*Identity, error) {
	id := v.ring.Load().verified.get(token, now)
	if id == nil {
		v.misses.Inc()
		return nil, nil
	}
	v.hits.Inc()
	return id, id.check(now, v.config.Leeway)
}

// Check refuses, before anything but the header is decoded, what no key of
// this Verifier can have signed, and HS256 tokens that none of the secrets did.
// So a flood of forgeries costs a fraction of accepting as many. It returns
// token itself, as contrib/jwt's TokenProcessorFunc. What it lets pass is still
// to be verified with Key: for HS256 that is the second time.
func (v *Verifier) Check(token string) (string, error) {
	segment, rest, _ := strings.Cut(token, ".")
	claims, signature, ok := strings.Cut(rest, ".")
	if !ok || strings.Contains(signature, ".") {
		return "", errParts
	}
	header := v.lastHeader.Load()
	if header == nil || header.segment != segment {
		var err error
		if header, err = readHeader(segment); err != nil {
			return "", err
		}
		v.lastHeader.Store(header)
	}
	ring := v.ring.Load()
	_, err := ring.find(header.Algorithm, header.KeyID)
	if (err == ErrUnknownKey || err == ErrNoKeysYet) && v.config.UnknownKey != nil {
		v.config.UnknownKey()
	}
	switch {
	case err != nil:
		return "", err
	case header.Algorithm == hs256 && len(token) > maxSigned:
		return "", errTooLong
	case header.Algorithm == hs256 && !ring.signed(token[:len(token)-len(signature)-1], signature):
		return "", jwt.ErrTokenSignatureInvalid
	case !canonical(claims), !canonical(signature):
		return "", errBase64
	case header.Algorithm != hs256:
		return token, checkDepth(claims)
	}
	return token, nil
}

// Key is the jwt.Keyfunc for tokens that passed Check. It goes by the method
// that golang-jwt is about to verify with.
func (v *Verifier) Key(token *jwt.Token) (any, error) {
	ring := v.ring.Load()
	token.Claims.(*RawClaims).verifiedBy = ring
	kid, _ := token.Header["kid"].(string)
	return ring.find(token.Method.Alg(), kid)
}

// Accept reads the claims of a token that golang-jwt verified with Key, and
// returns its caller if it is valid now. The ring whose key verified the token
// remembers it: should that one have been replaced meanwhile, nothing stays.
func (v *Verifier) Accept(token *jwt.Token, now time.Time) (*Identity, error) {
	raw := token.Claims.(*RawClaims)
	claims, err := readClaims(raw.text)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(claims.Audience, func(name string) bool { return slices.Contains(v.config.Audiences, name) }) {
		return nil, ErrWrongAudience
	}
	if err := claims.check(now, v.config.Leeway); err != nil {
		return nil, err
	}
	id := &Identity{
		Subject:  claims.Subject,
		Scopes:   strings.FieldsFunc(claims.Scope, func(r rune) bool { return r == ' ' }),
		validity: claims.validity,
	}
	raw.verifiedBy.verified.put(token.Raw, id, now)
	return id, nil
}
