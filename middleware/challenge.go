package middleware

import (
	"errors"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/busdk/bus-api-provider-vm/internal/token"
)

// realm names this API in challenges (RFC 9110 §11.5).
const realm = `Bearer realm="bus-vm"`

// The 401 answers. A request without a token gets a bare challenge, one with a
// token learns that it was not accepted (RFC 6750 §3.1), and no more than that.
var (
	errMissingToken = challenge(CodeInvalidAuth, "missing_token", realm,
		"Send a bearer token: Authorization: Bearer <jwt>.")
	errExpiredToken = challenge(CodeInvalidAuth, "expired",
		realm+`, error="invalid_token", error_description="the token has expired"`,
		"The bearer token has expired. Get a new one.")
	errAmbiguousToken = challenge(CodeInvalidAuth, "ambiguous_token", realm+`, error="invalid_token"`,
		"Send exactly one Authorization header.")
	errInvalidToken = invalidToken("malformed")
)

// refusals name the causes of a refused token for the operator; to the caller
// they all look alike, but for an expiry.
var refusals = []struct {
	cause  error
	answer *Error
}{
	{jwt.ErrTokenSignatureInvalid, invalidToken("signature")},
	{token.ErrExpired, errExpiredToken},
	{token.ErrNotYetValid, invalidToken("not_yet_valid")},
	{token.ErrWrongAudience, invalidToken("audience")},
	{token.ErrAlgorithm, invalidToken("algorithm")},
	{token.ErrUnknownKey, invalidToken("unknown_key")},
	{token.ErrNoKeysYet, Unavailable(0, "The public keys that verify tokens are not there yet.", nil)},
	{token.ErrSubject, invalidToken("claims")},
	{token.ErrExpiry, invalidToken("claims")},
	{token.ErrClaimType, invalidToken("claims")},
}

// refusalFor is the 401 for a token that was refused because of cause.
func refusalFor(cause error) *Error {
	for _, refusal := range refusals { // what errors.Is would find in the end
		if cause == refusal.cause {
			return refusal.answer
		}
	}
	for _, refusal := range refusals {
		if errors.Is(cause, refusal.cause) {
			return refusal.answer
		}
	}
	return errInvalidToken
}

func invalidToken(reason string) *Error {
	return challenge(CodeInvalidAuth, reason, realm+`, error="invalid_token"`,
		"The bearer token is not valid for this API.")
}

// missingScope is the 403 for a valid token without scope.
func missingScope(scope string) *Error {
	return challenge(CodeInsufficientAccess, "scope",
		realm+`, error="insufficient_scope", scope="`+scope+`"`,
		"The token lacks the scope "+scope+".")
}

func challenge(code Code, reason, value, message string) *Error {
	e := NewError(code, message)
	e.Reason = reason
	e.Headers = []Header{{Name: "Www-Authenticate", Value: value}}
	return e
}

// bearerToken cuts the token out of an Authorization value: the scheme in any
// case, one or more spaces, then nothing but the token (RFC 6750 §2.1).
func bearerToken(header []byte) (token []byte, ok bool) {
	const scheme = "Bearer "
	if len(header) <= len(scheme) || !strings.EqualFold(string(header[:len(scheme)]), scheme) {
		return nil, false
	}
	token = header[len(scheme):]
	for len(token) > 0 && token[0] == ' ' {
		token = token[1:]
	}
	return token, len(token) > 0
}
