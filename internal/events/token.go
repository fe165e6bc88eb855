package events

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

// TokenSource yields the provider's own token towards the Events API. All
// methods are safe for concurrent use. Errors never contain the token.
type TokenSource interface {
	// Token returns the token to use now. It is called for every publish.
	Token() (secret.String, error)
	// Refused says that the Events API answered refused with 401 or 403, and
	// returns whether Token yields another one now. An error means that it
	// never will: Run ends with it.
	Refused(refused secret.String) (changed bool, err error)
}

// tokenText is the b64token of RFC 6750 §2.1: it cannot end a header line.
var tokenText = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

var (
	errNoToken  = errors.New("the token is empty")
	errBadToken = errors.New("the token has characters that no bearer token has (RFC 6750 §2.1)")
)

func checkToken(token secret.String) error {
	switch {
	case token.IsZero():
		return errNoToken
	case !tokenText.MatchString(token.Reveal()):
		return errBadToken
	}
	return nil
}

// StaticToken is a token that stays as it is. Once it is refused, Run ends.
func StaticToken(token secret.String) (TokenSource, error) {
	if err := checkToken(token); err != nil {
		return nil, fmt.Errorf("BUS_API_TOKEN: %w", err)
	}
	return staticToken{token}, nil
}

type staticToken struct{ token secret.String }

func (s staticToken) Token() (secret.String, error) { return s.token, nil }

func (s staticToken) Refused(secret.String) (bool, error) { return false, ErrTokenRefused }

// RereadToken is a token that read yields, and that is read again each time it
// is refused. A failed read leaves the last good token in use.
func RereadToken(read func() (secret.String, error)) TokenSource { return &rereadToken{read: read} }

type rereadToken struct {
	read func() (secret.String, error)

	mu    sync.Mutex
	token secret.String // the last good one
}

func (r *rereadToken) Token() (secret.String, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.token.IsZero() {
		return r.token, nil
	}
	err := r.reload()
	return r.token, err
}

func (r *rereadToken) Refused(refused secret.String) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.token == refused {
		_ = r.reload() // the next Token or Refused tries again
	}
	return r.token != refused, nil
}

// reload replaces the token by what read yields, if that is one. The caller
// holds mu.
func (r *rereadToken) reload() error {
	token, err := r.read()
	if err == nil {
		err = checkToken(token)
	}
	if err == nil {
		r.token = token
	}
	return err
}

const (
	// fileCheckInterval is how old the last look at a token file may be.
	fileCheckInterval = time.Second
	// maxTokenFile bounds a token file in bytes; real tokens take up to 8 KiB.
	maxTokenFile = 64 << 10
)

// FileToken is the token in a file, surrounding white space not counted. A
// changed file is noticed within a second of use and whenever its token is
// refused; while it holds none, the last good token stays in use, and logger
// gets one line.
func FileToken(path string, logger *slog.Logger) TokenSource {
	f := &fileToken{path: path, logger: logger, now: time.Now}
	f.read = f.readFile
	return f
}

type fileToken struct {
	rereadToken
	path   string
	logger *slog.Logger
	now    func() time.Time

	// Guarded by rereadToken.mu.
	looked  time.Time
	seen    os.FileInfo // of the content last read; nil before
	failing bool        // and said so
}

func (f *fileToken) Token() (secret.String, error) {
	f.lookAgain()
	return f.rereadToken.Token()
}

// lookAgain reads the file if it is another than the one read last.
func (f *fileToken) lookAgain() {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if f.token.IsZero() || now.Sub(f.looked) < fileCheckInterval {
		return
	}
	f.looked = now
	// Followed through symbolic links: mounted secrets are exchanged by one.
	info, err := os.Stat(f.path)
	if err == nil && os.SameFile(info, f.seen) && info.ModTime().Equal(f.seen.ModTime()) && info.Size() == f.seen.Size() {
		f.failing = false
		return
	}
	err = f.reload()
	if err != nil && !f.failing {
		f.logger.Warn("the token file changed but holds no token; the last good one stays in use until the file is put right",
			"cause", err)
	}
	f.failing = err != nil
}

// readFile is called with mu held.
func (f *fileToken) readFile() (secret.String, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return secret.String{}, fmt.Errorf("the token file: %w", err)
	}
	defer file.Close()
	// The description is taken first: a change while reading shows next time.
	info, err := file.Stat()
	if err != nil {
		return secret.String{}, fmt.Errorf("the token file: %w", err)
	}
	content, err := io.ReadAll(io.LimitReader(file, maxTokenFile))
	if err != nil {
		return secret.String{}, fmt.Errorf("the token file: %w", err)
	}
	token := secret.New(strings.TrimSpace(string(content)))
	if err := checkToken(token); err != nil {
		return secret.String{}, fmt.Errorf("the token file %s: %w", f.path, err)
	}
	f.seen, f.looked = info, f.now()
	return token, nil
}

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
