package events

import (
	"errors"
	"fmt"
	"regexp"
	"sync"

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
