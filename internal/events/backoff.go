package events

import (
	"math/rand/v2"
	"time"
)

// delay is how long to wait before the attempt-th try after a loss, counted
// from 0. It doubles with each attempt, stays within [lowest, highest], and is
// spread over the upper half of its range, so that clients which lost a server
// together do not come back together. The same seed gives the same delays.
func delay(attempt int, lowest, highest time.Duration, seed uint64) time.Duration {
	lowest = min(lowest, highest)
	ceiling := highest
	// Beyond 2^62 a doubling has overflowed; no duration is that long.
	if attempt < 62 && lowest <= highest>>(attempt+1) {
		ceiling = lowest << (attempt + 1)
	}
	floor := max(lowest, ceiling/2)
	spread := int64(ceiling - floor)
	if spread <= 0 {
		return floor
	}
	return floor + time.Duration(rand.New(rand.NewPCG(seed, uint64(attempt))).Int64N(spread+1))
}
