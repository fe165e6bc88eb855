package middleware

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	jwtware "github.com/gofiber/contrib/jwt"
	"github.com/gofiber/fiber/v2"
	"github.com/golang-jwt/jwt/v5"
)

// Audience is what the tokens of this API are issued for.
const Audience = "ai.hg.fi/api"

// AuthConfig configures NewAuthenticator.
type AuthConfig struct {
	// Secrets verify HS256 signatures; any of them will do. At least one, unless
	// there are PublicKeys.
	Secrets [][]byte
	// PublicKeys verify RS256, ES256 and EdDSA signatures. Nil, which refuses
	// these algorithms, is not the same as a set that is empty for now.
	PublicKeys PublicKeys
	// UnknownKey is called when a token names a public key that is not there.
	// Anybody can cause it, and a request waits for it; nil for nothing.
	UnknownKey func()
	// Audience that a token must name; empty means Audience.
	Audience string
	// Leeway is granted on exp and nbf for clocks that disagree; default 0.
	Leeway time.Duration
	// CacheSize bounds how many verified tokens are remembered; default 65,536.
	// One of more than a kilobyte counts as several.
	CacheSize int
	// Logger gets the reason of each refusal at debug level; default none.
	Logger *slog.Logger
	// Metrics gets the counters of the verified-token cache; nil for none.
	Metrics *metrics.Set
	// Now is the clock; default the arrival time of the request.
	Now func() time.Time
}

// Authenticator verifies bearer tokens and remembers the ones it verified.
type Authenticator struct {
	config  AuthConfig
	setting sync.Mutex // held while the ring is replaced
	ring    atomic.Pointer[keyRing]
	verify  fiber.Handler

	lastHeader atomic.Pointer[joseHeader]

	hits, misses *metrics.Counter
}

// Identity is the verified caller of a request. It is shared between requests
// and must not be changed.
type Identity struct {
	// Subject is the stable identity id of the token (`sub`).
	Subject string
	// Scopes are the granted scopes, split at the ASCII space.
	Scopes []string

	expiresAt, notBefore float64   // seconds since the epoch
	verifiedUntil        time.Time // when the signature is checked again
}

// NewAuthenticator returns an Authenticator, or an error for unusable keys.
func NewAuthenticator(config AuthConfig) (*Authenticator, error) {
	if config.Audience == "" {
		config.Audience = Audience
	}
	if config.CacheSize <= 0 {
		config.CacheSize = defaultCacheSize
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Metrics == nil {
		config.Metrics = metrics.NewSet()
	}
	a := &Authenticator{
		config: config,
		hits:   config.Metrics.NewCounter(`bus_vm_token_cache_requests_total{result="hit"}`),
		misses: config.Metrics.NewCounter(`bus_vm_token_cache_requests_total{result="miss"}`),
	}
	config.Metrics.NewGauge("bus_vm_token_cache_entries", func() float64 {
		return float64(a.ring.Load().verified.entries.EstimatedSize())
	})
	if err := a.setKeys(config.Secrets, config.PublicKeys); err != nil {
		return nil, err
	}
	a.verify = jwtware.New(jwtware.Config{
		ContextKey:     tokenKey,
		Claims:         &tokenClaims{},
		KeyFunc:        a.key,
		SuccessHandler: a.accept,
		ErrorHandler:   a.refuse,
	})
	return a, nil
}

// Handler refuses every request without a valid token for the audience with
// 401 (RFC 6750 §3), and leaves the caller's Identity for the ones behind it.
func (a *Authenticator) Handler() fiber.Handler {
	return func(c *fiber.Ctx) error {
		values := c.Request().Header.PeekAll(fiber.HeaderAuthorization)
		if len(values) > 1 {
			return errAmbiguousToken
		}
		if len(values) == 0 {
			return errMissingToken
		}
		token, ok := bearerToken(values[0])
		if !ok {
			return errMissingToken
		}
		ring := a.ring.Load()
		if id := a.recall(c, ring, token); id != nil {
			return a.admit(c, id)
		}
		// contrib/jwt would trim Unicode white space around the token.
		if sextet(token[0]) < 0 || sextet(token[len(token)-1]) < 0 {
			return a.refuse(c, errBase64)
		}
		if err := a.checkSignature(ring, token); err != nil {
			return a.refuse(c, err)
		}
		c.Locals(ringKey{}, ring)
		return a.verify(c)
	}
}

// CallerIdentity returns who was authenticated by Handler, nil before it.
func CallerIdentity(c *fiber.Ctx) *Identity {
	id, _ := c.Locals(identityKey{}).(*Identity)
	return id
}

// The keys of what travels with a request.
type (
	identityKey struct{}
	ringKey     struct{}
)

// tokenKey is where contrib/jwt leaves the verified token.
const tokenKey = "bus-vm-token"

// recall is the fast path: a token verified a moment ago skips the signature.
// It returns nil for any other.
func (a *Authenticator) recall(c *fiber.Ctx, ring *keyRing, token []byte) *Identity {
	id := ring.verified.get(token, a.now(c))
	if id == nil {
		a.misses.Inc()
		return nil
	}
	a.hits.Inc()
	return id
}

// admit lets a caller pass whose token is genuine, if it is valid now.
func (a *Authenticator) admit(c *fiber.Ctx, id *Identity) error {
	if err := checkDates(id.expiresAt, id.notBefore, a.now(c), a.config.Leeway); err != nil {
		return a.refuse(c, err)
	}
	c.Locals(identityKey{}, id)
	return c.Next()
}

// accept runs once the signature is verified.
func (a *Authenticator) accept(c *fiber.Ctx) error {
	token := c.Locals(tokenKey).(*jwt.Token)
	claims := token.Claims.(*tokenClaims)
	if !slices.Contains(claims.audience, a.config.Audience) {
		return a.refuse(c, errWrongAudience)
	}
	id := &Identity{
		Subject:   claims.subject,
		Scopes:    claims.scopes,
		expiresAt: claims.expiresAt,
		notBefore: claims.notBefore,
	}
	// The ring seen before the signature was checked is the one that checked
	// it only if it still stands; otherwise nothing is remembered.
	if ring := c.Locals(ringKey{}).(*keyRing); ring == a.ring.Load() {
		ring.verified.put(token.Raw, id, a.now(c))
	}
	return a.admit(c, id)
}

func (a *Authenticator) refuse(c *fiber.Ctx, err error) error {
	if a.config.Logger.Enabled(context.Background(), slog.LevelDebug) {
		a.config.Logger.LogAttrs(c.UserContext(), slog.LevelDebug, "token refused",
			slog.String("request_id", strings.Clone(RequestIDOf(c))), slog.Any("reason", err))
	}
	return refusalFor(err)
}

func (a *Authenticator) now(c *fiber.Ctx) time.Time {
	if a.config.Now != nil {
		return a.config.Now()
	}
	return c.Context().Time()
}
