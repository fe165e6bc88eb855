package events

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

// What InspectToken finds wrong, to be told apart with errors.Is.
var (
	// ErrTokenOpaque: the token is no JWT. It may be good all the same; only
	// the Events API can tell.
	ErrTokenOpaque = errors.New("the token is no JWT, so its expiry and scopes cannot be checked")
	// ErrTokenExpired: its `exp` has passed.
	ErrTokenExpired = errors.New("the token has expired")
)

// ExpirySoon is how long before its expiry a token is worth a warning.
const ExpirySoon = 24 * time.Hour

// InspectToken reads the claims of the provider's own token (RFC 7519 §4.1),
// without verifying it: it serves to warn an operator before the Events API
// refuses the token. The expiry is zero for a token that names none. An expired
// token yields its claims beside ErrTokenExpired.
func InspectToken(token secret.String, now time.Time) (expires time.Time, scopes []string, err error) {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return time.Time{}, nil, ErrTokenOpaque
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}, nil, ErrTokenOpaque
	}
	var claims struct {
		Expires *float64 `json:"exp"`
		Scope   string   `json:"scope"`
	}
	if json.Unmarshal(body, &claims) != nil { // its error would quote the token
		return time.Time{}, nil, ErrTokenOpaque
	}
	scopes = slices.DeleteFunc(strings.Split(claims.Scope, " "), func(s string) bool { return s == "" })
	if claims.Expires == nil || math.Abs(*claims.Expires) > math.MaxInt32*1e3 {
		return time.Time{}, scopes, nil // none, or tens of thousands of years away
	}
	expires = time.Unix(int64(*claims.Expires), 0).UTC()
	if !now.Before(expires) {
		err = fmt.Errorf("%w at %s", ErrTokenExpired, expires.Format(time.RFC3339))
	}
	return expires, scopes, err
}

// MissingScopes returns what of need is not in have, in the order of need.
// Scopes are compared whole (RFC 6749 §3.3).
func MissingScopes(have, need []string) []string {
	var missing []string
	for _, scope := range need {
		if !slices.Contains(have, scope) {
			missing = append(missing, scope)
		}
	}
	return missing
}
