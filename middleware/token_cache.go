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
	// ordinaryToken is the size, in bytes, up to which a token counts as one;
	// a larger one counts as several.
	ordinaryToken = 1024
	// stringHeader is what a scope costs beside its text, in bytes.
	stringHeader = 16
)

// tokenCache remembers who a verified token belongs to. It is keyed by the
// SHA-256 of the whole token, so it holds no credential and two tokens never
// share an entry; otter compares whole keys and evicts beyond its bound, which
// is on memory: a token with a thousand scopes takes the room of many. Subject
// and scopes are never longer than the token they stood in.
// Refusals are never kept.
type tokenCache struct {
	entries *otter.Cache[[sha256.Size]byte, *Identity]
}

func newTokenCache(size int) (*tokenCache, error) {
	entries, err := otter.New(&otter.Options[[sha256.Size]byte, *Identity]{
		MaximumWeight: uint64(size),
		Weigher:       weigh,
	})
	if err != nil {
		return nil, err
	}
	return &tokenCache{entries}, nil
}

func weigh(_ [sha256.Size]byte, id *Identity) uint32 {
	return uint32(1 + (id.tokenBytes+stringHeader*len(id.Scopes))/ordinaryToken)
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
