package events

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/files"
	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

// tokenText is the b64token of RFC 6750 §2.1: it cannot end a header line.
var tokenText = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

const maxTokenFile = 64 << 10 // bytes of a token file; real tokens take up to 8 KiB

// TokenSource yields the provider's own token towards the Events API. Its
// methods are safe for concurrent use. Errors never contain the token.
type TokenSource struct {
	from   string // where it comes from, for messages
	read   func() (secret.String, error)
	static bool // it stays as it is

	mu    sync.Mutex
	token secret.String // the last good one
}

// StaticToken is a token that stays as it is. Once it is refused, Run ends.
func StaticToken(token secret.String) (*TokenSource, error) {
	s := RereadToken(func() (secret.String, error) { return token, nil })
	s.static = true
	_, err := s.Token()
	return s, err
}

// RereadToken is a token that read yields, and that is read again each time it
// is refused. A failed read leaves the last good token in use.
func RereadToken(read func() (secret.String, error)) *TokenSource {
	return &TokenSource{from: "BUS_API_TOKEN", read: read}
}

// FileToken is a RereadToken from a file, without white space and byte order marks
// around it.
func FileToken(path string) *TokenSource {
	return &TokenSource{from: "the token file " + path, read: func() (secret.String, error) {
		content, err := files.Read(path, maxTokenFile)
		return secret.New(secret.Trim(string(content))), err
	}}
}

// Token returns the token to use now, which is read only while there is none. It is
// called for every publish.
func (s *TokenSource) Token() (secret.String, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token.IsZero() {
		return s.take(s.load())
	}
	return s.token, nil
}

// Reread reads the token again, and returns it once it is in use. It holds up no
// Token meanwhile: a file system may hang.
func (s *TokenSource) Reread() (secret.String, error) {
	token, err := s.load()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.take(token, err)
}

// Refused says that the Events API answered refused with 401 or 403, and
// returns whether Token yields another one now. An error means that it never
// will: Run ends with it.
func (s *TokenSource) Refused(refused secret.String) (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.static {
		return false, ErrTokenRefused
	}
	if s.token == refused {
		_, _ = s.take(s.load()) // the next Refused tries again
	}
	return s.token != refused, nil
}

// take puts what load returned in use, if that is a token. The caller holds mu.
func (s *TokenSource) take(token secret.String, err error) (secret.String, error) {
	if err == nil {
		s.token = token
	}
	return token, err
}

// load returns what read yields, if that is a token.
func (s *TokenSource) load() (secret.String, error) {
	token, err := s.read()
	switch {
	case err != nil:
	case token.IsZero():
		err = errors.New("the token is empty")
	case !tokenText.MatchString(token.Reveal()):
		err = errors.New("the token has characters that no bearer token has (RFC 6750 §2.1)")
	default:
		return token, nil
	}
	return secret.String{}, fmt.Errorf("%s: %w", s.from, err)
}

// InspectToken reads the claims of the provider's own token (RFC 7519 §4.1) without
// verifying it, to warn an operator before the Events API refuses it. The expiry is
// zero for a token that names none. The level is that of the finding: an error for what
// has expired or lacks scopes of need, a warning for what expires within a day.
func InspectToken(token secret.String, need []string, now time.Time) (expires time.Time, level slog.Level, finding string) {
	finding = "it is no JWT, so its expiry and scopes cannot be checked"
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return expires, level, finding
	}
	var claims struct {
		Expires *float64 `json:"exp"`
		Scope   string   `json:"scope"`
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(body, &claims) != nil { // its error would quote the token
		return expires, level, finding
	}
	finding = "it does not expire"
	if claims.Expires != nil && math.Abs(*claims.Expires) <= math.MaxInt32*1e3 { // others are tens of thousands of years away
		expires = time.Unix(int64(*claims.Expires), 0).UTC()
		finding = "it expires at " + expires.Format(time.RFC3339)
		switch left := expires.Sub(now); {
		case left <= 0:
			level, finding = slog.LevelError, "it has expired at "+expires.Format(time.RFC3339)
		case left < 24*time.Hour:
			level, finding = slog.LevelWarn, finding+", within a day"
		}
	}
	have := strings.Split(claims.Scope, " ")
	missing := slices.DeleteFunc(slices.Clone(need), func(scope string) bool { return slices.Contains(have, scope) })
	if len(missing) > 0 {
		return expires, slog.LevelError, finding + ", and lacks the scopes " + strings.Join(missing, " ")
	}
	return expires, level, finding + ", and has the scopes " + strings.Join(need, " ")
}
