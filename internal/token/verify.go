// Package token verifies the bearer tokens that callers send (RFC 7519), and
// mints such tokens for development.
package token

import (
	"cmp"
	"hash/maphash"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/golang-jwt/jwt/v5"
	"github.com/maypok86/otter/v2"
)

// Audience is what the tokens of this API are issued for, unless Config says
// otherwise.
const Audience = "ai.hg.fi/api"

// Config configures a Verifier, and the handler in front of it.
type Config struct {
	// Secrets verify HS256 signatures; any of them will do. PublicKeys verify RS256,
	// ES256 and EdDSA. Nil, which refuses these algorithms, is not the same as a set
	// that is empty for now. There is at least one secret or a set.
	Secrets    [][]byte
	PublicKeys PublicKeys
	// UnknownKey is called when a token names a public key that is not there, or
	// there are none yet. Any client can cause it, and a request waits for it;
	// nil for nothing.
	UnknownKey func()
	// Audiences are what a token may be issued for: it must name one of them
	// exactly. None means Audience.
	Audiences []string
	// CacheSize bounds how many verified tokens are remembered; below 1, 65,536
	// are. One of more than a kilobyte counts as several.
	CacheSize int
	Leeway    time.Duration    // granted on exp and nbf for clocks that disagree
	Logger    *slog.Logger     // gets the reason of each refusal at debug level; nil for none
	Metrics   *metrics.Set     // gets the counters of the cache; nil for none
	Now       func() time.Time // the clock; nil for the arrival time of the request
}

// Identity is the verified caller of a request. It is shared between requests
// and must not be changed.
type Identity struct {
	Subject string   // the stable identity id of the token (`sub`)
	Scopes  []string // split at the ASCII space (RFC 6749 §3.3)
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

// Check is contrib/jwt's TokenProcessorFunc. It refuses, before anything but the
// header is decoded, what no key of this Verifier can have signed, and HS256 tokens
// that none of the secrets did: a flood of forgeries costs a fraction of accepting as
// many. What it lets pass is still to be verified with Key.
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

const (
	defaultCacheSize = 65536            // verified tokens that are remembered
	rememberFor      = time.Minute      // how long a verified signature is trusted
	sweepEvery       = 30 * time.Second // how long an entry stays in memory after its end, at most
	ordinaryToken    = 1024             // bytes; a larger token counts as several
	stringHeader     = 16               // bytes of a scope beside its text
)

// cache remembers who a verified token belongs to (docs/adr/0006-token-cache.md).
// Its key is the whole token: never a hash of it, which another token may share. Its
// bound is on memory: a token with a thousand scopes takes the room of many. A token
// is remembered when it is verified for the second time, and never when refused. A
// timer, set only while there are entries, removes those that have ended.
type cache struct {
	entries *otter.Cache[string, *Identity]
	// seen has a mark for tokens that were verified once. Marks are short and
	// overwrite each other: all they decide is what is worth remembering.
	seen     []atomic.Uint32
	seed     maphash.Seed // of the marks
	sweeping atomic.Bool  // a timer is set
}

// newCache returns a cache of size ordinary tokens.
func newCache(size int) *cache {
	entries := otter.Must(&otter.Options[string, *Identity]{MaximumWeight: uint64(size), Weigher: weigh})
	return &cache{entries: entries, seen: make([]atomic.Uint32, size), seed: maphash.MakeSeed()}
}

func weigh(token string, id *Identity) uint32 {
	return uint32(1 + (len(token)+stringHeader*len(id.Scopes))/ordinaryToken)
}

// get returns the identity behind token, nil when it is unknown, has expired or
// was verified too long ago. The caller checks nbf, and exp to the instant.
func (c *cache) get(token string, now time.Time) *Identity {
	id, ok := c.entries.GetIfPresent(token)
	if !ok || !now.Before(id.verifiedUntil) {
		return nil
	}
	return id
}

// put remembers id, to whom the verified token belongs, until the token expires
// or for rememberFor, if the token was put before. It owns id from here on.
func (c *cache) put(token string, id *Identity, now time.Time) {
	lasts := time.Duration(min(id.ExpiresAt-unixSeconds(now), rememberFor.Seconds()) * float64(time.Second))
	if lasts <= 0 || !c.seenBefore(token) {
		return
	}
	id.verifiedUntil = now.Add(lasts)
	c.entries.Set(strings.Clone(token), id) // token is a part of the request
	c.sweepLater()
}

// seenBefore leaves the mark of token, and reports whether it was there.
func (c *cache) seenBefore(token string) bool {
	hash := maphash.String(c.seed, token)
	place, mark := hash%uint64(len(c.seen)), uint32(hash>>32)
	return c.seen[place].Swap(mark) == mark
}

// sweepLater sets the timer unless it is set.
func (c *cache) sweepLater() {
	if c.sweeping.CompareAndSwap(false, true) {
		time.AfterFunc(sweepEvery, c.sweep)
	}
}

// sweep removes the entries that have ended, and goes on later while there are
// others. An entry that is replaced at this moment may go with the old one;
// then its token is verified once more.
func (c *cache) sweep() {
	c.sweeping.Store(false) // first, so that a put from here on sets the timer
	now := time.Now()
	for token, id := range c.entries.All() {
		if !now.Before(id.verifiedUntil) {
			c.entries.Invalidate(token)
		}
	}
	if c.entries.EstimatedSize() > 0 {
		c.sweepLater()
	}
}
