package backoff

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDelayGrowsWithinItsBounds(t *testing.T) {
	for attempt, floor := range []time.Duration{1, 2, 4, 8, 15, 15} {
		floor *= time.Second
		seen := map[time.Duration]bool{}
		for seed := range uint64(50) {
			got := Delay(attempt, time.Second, 30*time.Second, Chance(seed, attempt))
			if got < floor || got > 2*floor {
				t.Fatalf("Delay(%d), seed %d = %v, want %v to %v", attempt, seed, got, floor, 2*floor)
			}
			if got != Delay(attempt, time.Second, 30*time.Second, Chance(seed, attempt)) {
				t.Fatalf("Delay(%d), seed %d is not a function", attempt, seed)
			}
			seen[got] = true
		}
		if len(seen) < 2 {
			t.Errorf("Delay(%d) has no jitter", attempt)
		}
	}
}

func TestDelayForAnySettings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		attempt := rapid.IntRange(0, math.MaxInt32).Draw(t, "attempt")
		highest := time.Duration(rapid.Int64Min(1).Draw(t, "highest"))
		lowest := time.Duration(rapid.Int64Min(1).Draw(t, "lowest"))
		got := Delay(attempt, lowest, highest, rapid.Float64Range(0, math.Nextafter(1, 0)).Draw(t, "chance"))
		if got < min(lowest, highest) || got > highest {
			t.Fatalf("Delay = %v outside [%v, %v]", got, lowest, highest)
		}
	})
}
