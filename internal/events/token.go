package events

import (
	"cmp"
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

const (
	fileCheckInterval = time.Second // how old the last look at a token file may be
	maxTokenFile      = 64 << 10    // bytes of a token file; real tokens take up to 8 KiB
)

// TokenSource yields the provider's own token towards the Events API. Its
// methods are safe for concurrent use. Errors never contain the token.
type TokenSource struct {
	from   string // where it comes from, for messages
	read   func() (secret.String, error)
	static bool         // it stays as it is
	logger *slog.Logger // of a token that is read while it is used; nil for others

	mu      sync.Mutex
	token   secret.String // the last good one
	looked  time.Time     // when it was last read
	failing bool          // that yielded none, which was logged
}

// StaticToken is a token that stays as it is. Once it is refused, Run ends.
func StaticToken(token secret.String) (*TokenSource, error) {
	s := RereadToken(func() (secret.String, error) { return token, nil })
	s.static = true
	return s, s.reload()
}

// RereadToken is a token that read yields, and that is read again each time it
// is refused. A failed read leaves the last good token in use.
func RereadToken(read func() (secret.String, error)) *TokenSource {
	return &TokenSource{from: "BUS_API_TOKEN", read: read}
}

// FileToken is the token in a file, without white space and byte order marks around
// it. The file is read again after a second of use and whenever its token is refused;
// while it holds none, the last good token stays in use, and logger gets one line.
func FileToken(path string, logger *slog.Logger) *TokenSource {
	return &TokenSource{from: "the token file " + path, logger: logger, read: func() (secret.String, error) {
		content, err := files.Read(path, maxTokenFile)
		return secret.New(secret.Trim(string(content))), cmp.Or(errors.Unwrap(err), err) // without the path
	}}
}

// Token returns the token to use now. It is called for every publish.
func (s *TokenSource) Token() (secret.String, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token.IsZero() {
		err := s.reload()
		return s.token, err
	}
	if s.logger != nil && time.Since(s.looked) >= fileCheckInterval {
		err := s.reload()
		if err != nil && !s.failing {
			s.logger.Warn("the token file changed but holds no token; the last good one stays in use until the file is put right",
				"cause", err)
		}
		s.failing = err != nil
	}
	return s.token, nil
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
		_ = s.reload() // the next Token or Refused tries again
	}
	return s.token != refused, nil
}

// reload replaces the token by what read yields, if that is one. The caller
// holds mu.
func (s *TokenSource) reload() error {
	s.looked = time.Now()
	token, err := s.read()
	switch {
	case err != nil:
	case token.IsZero():
		err = errors.New("the token is empty")
	case !tokenText.MatchString(token.Reveal()):
		err = errors.New("the token has characters that no bearer token has (RFC 6750 §2.1)")
	default:
		s.token = token
		return nil
	}
	return fmt.Errorf("%s: %w", s.from, err)
}

var (
	// ErrTokenExpired: the `exp` of an inspected token has passed.
	ErrTokenExpired = errors.New("the token has expired")
	errTokenOpaque  = errors.New("the token is no JWT, so its expiry and scopes cannot be checked")
)

// ExpirySoon is how long before its expiry a token is worth a warning.
const ExpirySoon = 24 * time.Hour

// InspectToken reads the claims of the provider's own token (RFC 7519 §4.1) without
// verifying it, to warn an operator before the Events API refuses it. The expiry is
// zero for a token that names none; missing are the scopes of need that it lacks. An
// expired token yields both beside ErrTokenExpired.
func InspectToken(token secret.String, need []string, now time.Time) (expires time.Time, missing []string, err error) {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return time.Time{}, nil, errTokenOpaque
	}
	var claims struct {
		Expires *float64 `json:"exp"`
		Scope   string   `json:"scope"`
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(body, &claims) != nil { // its error would quote the token
		return time.Time{}, nil, errTokenOpaque
	}
	have := strings.Split(claims.Scope, " ")
	missing = slices.DeleteFunc(slices.Clone(need), func(scope string) bool { return slices.Contains(have, scope) })
	if claims.Expires == nil || math.Abs(*claims.Expires) > math.MaxInt32*1e3 {
		return time.Time{}, missing, nil // none, or tens of thousands of years away
	}
	expires = time.Unix(int64(*claims.Expires), 0).UTC()
	if !now.Before(expires) {
		err = fmt.Errorf("%w at %s", ErrTokenExpired, expires.Format(time.RFC3339))
	}
	return expires, missing, err
}
