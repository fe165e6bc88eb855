package middleware

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2/utils"
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

// tokenCache remembers who a verified token belongs to. Its key is the whole
// token: never a hash of it, which another token may share. otter evicts beyond
// its bound, which is on memory: a token with a thousand scopes takes the room
// of many. Refusals are never kept; a genuine token is remembered whatever its
// dates, which are checked at every use.
//
// A token is remembered when it is verified for the second time: one that comes
// once costs no memory, so a flood of such tokens drives nobody else's out.
type tokenCache struct {
	entries *otter.Cache[string, *Identity]
	// seen has a mark for tokens that were verified once. Marks are short and
	// overwrite each other: all they decide is what is worth remembering.
	seen []atomic.Uint32
	seed maphash.Seed // of the marks
}

func newTokenCache(size int) (*tokenCache, error) {
	entries, err := otter.New(&otter.Options[string, *Identity]{
		MaximumWeight: uint64(size),
		Weigher:       weigh,
	})
	if err != nil {
		return nil, err
	}
	return &tokenCache{entries: entries, seen: make([]atomic.Uint32, size), seed: maphash.MakeSeed()}, nil
}

func weigh(token string, id *Identity) uint32 {
	return uint32(1 + (len(token)+stringHeader*len(id.Scopes))/ordinaryToken)
}

// get returns the identity behind token, nil when it is unknown or was verified
// too long ago. The caller checks the dates of the token.
func (t *tokenCache) get(token []byte, now time.Time) *Identity {
	id, ok := t.entries.GetIfPresent(utils.UnsafeString(token)) // only compared
	if !ok || now.After(id.verifiedUntil) {
		return nil
	}
	return id
}

// put remembers id, to whom the verified token belongs, for rememberFor, if the
// token was put before. It owns id from here on.
func (t *tokenCache) put(token string, id *Identity, now time.Time) {
	if !t.again(token) {
		return
	}
	id.verifiedUntil = now.Add(rememberFor)
	t.entries.Set(strings.Clone(token), id) // token is a part of the request
}

// again leaves the mark of token, and reports whether it was there.
func (t *tokenCache) again(token string) bool {
	hash := maphash.String(t.seed, token)
	place, mark := hash%uint64(len(t.seen)), uint32(hash>>32)
	return t.seen[place].Swap(mark) == mark
}
