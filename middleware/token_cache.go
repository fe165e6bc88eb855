package middleware

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"sync/atomic"
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
// SHA-256 of the signature, and an entry holds the text that was signed, which
// is compared whole: so two tokens never share an entry, and a token without
// its signature is no credential. otter evicts beyond its bound, which is on
// memory: a token with a thousand scopes takes the room of many. The text, with
// the subject and the scopes that stand in it, is never longer than two tokens.
// Refusals are never kept.
//
// A token is remembered when it is verified for the second time: one that comes
// once costs no memory, so a flood of such tokens drives nobody else's out.
type tokenCache struct {
	entries *otter.Cache[[sha256.Size]byte, *Identity]
	// seen has a mark for tokens that were verified once. Marks are short and
	// overwrite each other: all they decide is what is worth remembering.
	seen []atomic.Uint32
}

func newTokenCache(size int) (*tokenCache, error) {
	entries, err := otter.New(&otter.Options[[sha256.Size]byte, *Identity]{
		MaximumWeight: uint64(size),
		Weigher:       weigh,
	})
	if err != nil {
		return nil, err
	}
	return &tokenCache{entries: entries, seen: make([]atomic.Uint32, size)}, nil
}

func weigh(_ [sha256.Size]byte, id *Identity) uint32 {
	return uint32(1 + (id.tokenBytes+stringHeader*len(id.Scopes))/ordinaryToken)
}

// get returns the identity behind token, nil when it is unknown or was verified
// too long ago. The caller checks the dates of the token.
func (t *tokenCache) get(token []byte, now time.Time) *Identity {
	dot := bytes.LastIndexByte(token, '.')
	if dot < 0 {
		return nil
	}
	id, ok := t.entries.GetIfPresent(sha256.Sum256(token[dot+1:]))
	if !ok || id.signed != string(token[:dot]) || now.After(id.verifiedUntil) {
		return nil
	}
	return id
}

// put remembers id, to whom the verified token belongs, for rememberFor, if the
// token was put before. It owns id from here on.
func (t *tokenCache) put(token string, id *Identity, now time.Time) {
	dot := strings.LastIndexByte(token, '.')
	key := sha256.Sum256([]byte(token[dot+1:]))
	if !t.again(key) {
		return
	}
	id.signed = strings.Clone(token[:dot]) // token is a part of the request
	id.verifiedUntil = now.Add(rememberFor)
	t.entries.Set(key, id)
}

// again leaves the mark of key, and reports whether it was there.
func (t *tokenCache) again(key [sha256.Size]byte) bool {
	place, mark := binary.LittleEndian.Uint32(key[:4]), binary.LittleEndian.Uint32(key[4:8])
	return t.seen[place%uint32(len(t.seen))].Swap(mark) == mark
}
