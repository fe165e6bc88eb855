// Package backoff spaces out the attempts at something that fails.
package backoff

import "time"

// Delay is how long to wait before the attempt-th try after a failure, counted
// from 0. It doubles with each attempt, stays within [lowest, highest], and
// chance, in [0, 1), spreads it over the upper half of its range, so that
// clients which lost a server together do not come back together.
func Delay(attempt int, lowest, highest time.Duration, chance float64) time.Duration {
	lowest = min(lowest, highest)
	ceiling := highest
	// Beyond 2^62 a doubling has overflowed; no duration is that long.
	if attempt < 62 && lowest <= highest>>(attempt+1) {
		ceiling = lowest << (attempt + 1)
	}
	floor := max(lowest, ceiling/2)
	// Of a spread of centuries the product may be rounded up.
	return floor + min(time.Duration(chance*float64(ceiling-floor)), ceiling-floor)
}
