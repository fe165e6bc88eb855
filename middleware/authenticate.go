// Package middleware is what a request passes on its way to a route: who may do
// what, how much of it, and what a failure looks like.
package middleware

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	jwtware "github.com/gofiber/contrib/jwt"
	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"
	"github.com/golang-jwt/jwt/v5"

	"github.com/busdk/bus-api-provider-vm/internal/token"
)

type (
	// AuthConfig configures NewAuthenticator.
	AuthConfig = token.Config
	// PublicKeys is an immutable set of public keys that verify tokens.
	PublicKeys = token.PublicKeys
	// Identity is the verified caller of a request.
	Identity = token.Identity
)

// Authenticator lets requests with a valid bearer token pass.
type Authenticator struct {
	config   AuthConfig
	verifier *token.Verifier
	verify   fiber.Handler
}

// NewAuthenticator returns an Authenticator, or an error for unusable keys.
func NewAuthenticator(config AuthConfig) (*Authenticator, error) {
	config.Logger = cmp.Or(config.Logger, slog.New(slog.DiscardHandler))
	verifier, err := token.NewVerifier(config)
	if err != nil {
		return nil, err
	}
	a := &Authenticator{config: config, verifier: verifier}
	a.verify = jwtware.New(jwtware.Config{
		ContextKey:         tokenKey,
		Claims:             &token.RawClaims{},
		TokenProcessorFunc: verifier.Check, // before anything is decoded
		KeyFunc:            verifier.Key,
		SuccessHandler:     a.accept,
		ErrorHandler:       a.refuse,
	})
	return a, nil
}

// SetSecrets replaces the secrets. Tokens that only a removed one verified are
// refused from then on. There may be none if there are public keys.
func (a *Authenticator) SetSecrets(secrets [][]byte) error { return a.verifier.SetSecrets(secrets) }

// SetPublicKeys replaces the public keys, likewise.
func (a *Authenticator) SetPublicKeys(keys PublicKeys) error { return a.verifier.SetPublicKeys(keys) }

// Handler refuses every request without a valid token for an audience with
// 401 (RFC 6750 §3), and leaves the caller's Identity for the ones behind it.
// A token verified a moment ago skips the signature.
func (a *Authenticator) Handler() fiber.Handler {
	return func(c *fiber.Ctx) error {
		values := c.Request().Header.PeekAll(fiber.HeaderAuthorization)
		if len(values) > 1 {
			return errAmbiguousToken
		}
		bearer := bearerToken(values)
		if len(bearer) == 0 {
			return errMissingToken
		}
		id, err := a.verifier.Recall(utils.UnsafeString(bearer), a.now(c))
		switch {
		case err != nil:
			return a.refuse(c, err)
		case id != nil:
			return admit(c, id)
		case isSpaced(bearer): // contrib/jwt would trim it
			return a.refuse(c, jwtware.ErrJWTMissingOrMalformed)
		}
		return a.verify(c)
	}
}

// Holds is for a request that lasts: it returns whether the keys in force would still let
// in the token that Handler let in, but for its expiry.
func (a *Authenticator) Holds(c *fiber.Ctx) func() bool {
	bearer := string(bearerToken(c.Request().Header.PeekAll(fiber.HeaderAuthorization)))
	return func() bool {
		_, err := a.verifier.Check(bearer)
		return err == nil
	}
}

// CallerIdentity returns who was authenticated by Handler, nil before it.
func CallerIdentity(c *fiber.Ctx) *Identity {
	id, _ := c.Locals(identityKey{}).(*Identity)
	return id
}

// identityKey is where Handler leaves the caller's Identity.
type identityKey struct{}

// tokenKey is where contrib/jwt leaves the verified token.
const tokenKey = "bus-vm-token"

// accept runs once the signature is verified.
func (a *Authenticator) accept(c *fiber.Ctx) error {
	id, err := a.verifier.Accept(c.Locals(tokenKey).(*jwt.Token), a.now(c))
	if err != nil {
		return a.refuse(c, err)
	}
	return admit(c, id)
}

func admit(c *fiber.Ctx, id *Identity) error {
	c.Locals(identityKey{}, id)
	return c.Next()
}

// refuse gets the errors of Check and Accept as they are, and those of Key
// wrapped by golang-jwt.
func (a *Authenticator) refuse(c *fiber.Ctx, err error) error {
	if a.config.Logger.Enabled(context.Background(), slog.LevelDebug) {
		a.config.Logger.Debug("token refused", "request_id", strings.Clone(RequestIDOf(c)), "reason", err)
	}
	for _, refusal := range refusals {
		if errors.Is(err, refusal.cause) {
			return refusal.answer
		}
	}
	return errInvalidToken
}

func (a *Authenticator) now(c *fiber.Ctx) time.Time {
	if a.config.Now != nil {
		return a.config.Now()
	}
	return c.Context().Time()
}

// The challenges: realm names this API (RFC 9110 §11.5).
const (
	realm    = `Bearer realm="bus-vm"`
	badToken = realm + `, error="invalid_token"`
)

// The 401 answers. A request without a token gets a bare challenge, one with a
// token learns that it was not accepted (RFC 6750 §3.1), and no more than that.
var (
	errMissingToken   = challenge(CodeInvalidAuth, "missing_token", realm, "Send a bearer token: Authorization: Bearer <jwt>.")
	errAmbiguousToken = challenge(CodeInvalidAuth, "ambiguous_token", badToken, "Send exactly one Authorization header.")
	errInvalidToken   = invalidToken("malformed")
)

// refusals name the causes of a refused token for the operator; to the caller
// they all look alike, but for an expiry.
var refusals = []struct {
	cause  error
	answer *Error
}{
	{jwt.ErrTokenSignatureInvalid, invalidToken("signature")},
	{token.ErrExpired, challenge(CodeInvalidAuth, "expired", badToken+`, error_description="the token has expired"`,
		"The bearer token has expired. Get a new one.")},
	{token.ErrNotYetValid, invalidToken("not_yet_valid")},
	{token.ErrWrongAudience, invalidToken("audience")},
	{token.ErrAlgorithm, invalidToken("algorithm")},
	{token.ErrUnknownKey, invalidToken("unknown_key")},
	{token.ErrNoKeysYet, Unavailable(0, "The public keys that verify tokens are not there yet.", nil)},
	{token.ErrSubject, invalidToken("claims")},
	{token.ErrExpiry, invalidToken("claims")},
	{token.ErrClaimType, invalidToken("claims")},
}

func invalidToken(reason string) *Error {
	return challenge(CodeInvalidAuth, reason, badToken, "The bearer token is not valid for this API.")
}

func challenge(code Code, reason, value, message string) *Error {
	return &Error{Code: code, Reason: reason, Message: message, Headers: []Header{{fiber.HeaderWWWAuthenticate, value}}}
}

const maxSpaces = 16 // to trim kilobytes of them would cost more than to verify a signature

// bearerToken cuts the token out of the first Authorization value: the scheme in
// any case, one or more spaces, then nothing but the token (RFC 6750 §2.1). Empty
// for none.
func bearerToken(values [][]byte) []byte {
	const scheme = "Bearer "
	if len(values) == 0 || len(values[0]) < len(scheme) || !bytes.EqualFold(values[0][:len(scheme)], []byte(scheme)) {
		return nil
	}
	value := values[0][len(scheme):]
	spaces := value[:min(len(value), maxSpaces)]
	return value[len(spaces)-len(bytes.TrimLeft(spaces, " ")):]
}

// isSpaced reports white space at either end of token, or another byte that no token has.
func isSpaced(token []byte) bool {
	first, last := token[0], token[len(token)-1]
	return min(first, last) <= ' ' || max(first, last) > '~'
}
