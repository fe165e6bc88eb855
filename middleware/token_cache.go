package middleware

import (
	"crypto/sha256"
	"time"

	"github.com/maypok86/otter/v2"
)

const (
	// defaultCacheSize bounds the verified tokens that are remembered.
	defaultCacheSize = 65536
	// rememberFor is how long a verified signature is taken as read.
	rememberFor = time.Minute
)

// tokenCache remembers who a verified token belongs to. It is keyed by the
// SHA-256 of the whole token, so it holds no credential and two tokens never
// share an entry; otter compares whole keys and evicts beyond its bound.
// Refusals are never kept.
type tokenCache struct {
	entries *otter.Cache[[sha256.Size]byte, *Identity]
}

func newTokenCache(size int) (*tokenCache, error) {
	entries, err := otter.New(&otter.Options[[sha256.Size]byte, *Identity]{MaximumSize: size})
	if err != nil {
		return nil, err
	}
	return &tokenCache{entries}, nil
}

// get returns the identity behind key, nil when it is unknown or was verified
// too long ago. The caller checks the dates of the token.
func (t *tokenCache) get(key [sha256.Size]byte, now time.Time) *Identity {
	id, ok := t.entries.GetIfPresent(key)
	if !ok || now.After(id.verifiedUntil) {
		return nil
	}
	return id
}

// put remembers id for rememberFor. It owns id from here on.
func (t *tokenCache) put(key [sha256.Size]byte, id *Identity, now time.Time) {
	id.verifiedUntil = now.Add(rememberFor)
	t.entries.Set(key, id)
}
