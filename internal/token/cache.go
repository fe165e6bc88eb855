package token

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

const (
	// defaultCacheSize bounds the verified tokens that are remembered.
	defaultCacheSize = 65536
	// rememberFor is how long a verified signature is trusted.
	rememberFor = time.Minute
	// sweepEvery is how long an entry stays in memory after its end, at most.
	sweepEvery = 30 * time.Second
	// ordinaryToken is the size, in bytes, up to which a token counts as one;
	// a larger one counts as several.
	ordinaryToken = 1024
	// stringHeader is what a scope costs beside its text, in bytes.
	stringHeader = 16
)

// cache remembers who a verified token belongs to. Its key is the whole token:
// never a hash of it, which another token may share. Its bound is on memory: a
// token with a thousand scopes takes the room of many. Refusals are never kept.
//
// A token is remembered when it is verified for the second time: one that comes
// once costs no memory, so a flood of such tokens evicts no other. A timer, set
// only while there are entries, removes those that have ended (docs/adr/0006).
type cache struct {
	entries *otter.Cache[string, *Identity]
	// seen has a mark for tokens that were verified once. Marks are short and
	// overwrite each other: all they decide is what is worth remembering.
	seen     []atomic.Uint32
	seed     maphash.Seed // of the marks
	sweeping atomic.Bool  // a timer is set
}

// newCache returns a cache of size ordinary tokens.
func newCache(size int) *cache {
	entries := otter.Must(&otter.Options[string, *Identity]{MaximumWeight: uint64(size), Weigher: weigh})
	return &cache{entries: entries, seen: make([]atomic.Uint32, size), seed: maphash.MakeSeed()}
}

func weigh(token string, id *Identity) uint32 {
	return uint32(1 + (len(token)+stringHeader*len(id.Scopes))/ordinaryToken)
}

// get returns the identity behind token, nil when it is unknown, has expired or
// was verified too long ago. The caller checks nbf, and exp to the instant.
func (c *cache) get(token string, now time.Time) *Identity {
	id, ok := c.entries.GetIfPresent(token)
	if !ok || !now.Before(id.verifiedUntil) {
		return nil
	}
	return id
}

// put remembers id, to whom the verified token belongs, until the token expires
// or for rememberFor, if the token was put before. It owns id from here on.
func (c *cache) put(token string, id *Identity, now time.Time) {
	lasts := time.Duration(min(id.ExpiresAt-unixSeconds(now), rememberFor.Seconds()) * float64(time.Second))
	if lasts <= 0 || !c.seenBefore(token) {
		return
	}
	id.verifiedUntil = now.Add(lasts)
	c.entries.Set(strings.Clone(token), id) // token is a part of the request
	c.sweepLater()
}

// seenBefore leaves the mark of token, and reports whether it was there.
func (c *cache) seenBefore(token string) bool {
	hash := maphash.String(c.seed, token)
	place, mark := hash%uint64(len(c.seen)), uint32(hash>>32)
	return c.seen[place].Swap(mark) == mark
}

// sweepLater sets the timer unless it is set.
func (c *cache) sweepLater() {
	if c.sweeping.CompareAndSwap(false, true) {
		time.AfterFunc(sweepEvery, c.sweep)
	}
}

// sweep removes the entries that have ended, and goes on later while there are
// others. An entry that is replaced at this moment may go with the old one;
// then its token is verified once more.
func (c *cache) sweep() {
	c.sweeping.Store(false) // first, so that a put from here on sets the timer
	now := time.Now()
	for token, id := range c.entries.All() {
		if !now.Before(id.verifiedUntil) {
			c.entries.Invalidate(token)
		}
	}
	if c.entries.EstimatedSize() > 0 {
		c.sweepLater()
	}
}
