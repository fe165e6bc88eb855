package backoff

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDelayGrowsWithinItsBounds(t *testing.T) {
	bounds := []struct{ floor, ceiling time.Duration }{
		{1 * time.Second, 2 * time.Second},
		{2 * time.Second, 4 * time.Second},
		{4 * time.Second, 8 * time.Second},
		{8 * time.Second, 16 * time.Second},
		{15 * time.Second, 30 * time.Second},
		{15 * time.Second, 30 * time.Second},
	}
	for attempt, want := range bounds {
		different := false
		for seed := range uint64(50) {
			got := Delay(attempt, time.Second, 30*time.Second, Chance(seed, attempt))
			if got < want.floor || got > want.ceiling {
				t.Fatalf("Delay(%d), seed %d = %v, want %v to %v", attempt, seed, got, want.floor, want.ceiling)
			}
			if got != Delay(attempt, time.Second, 30*time.Second, Chance(seed, attempt)) {
				t.Fatalf("Delay(%d), seed %d is not a function", attempt, seed)
			}
			different = different || got != Delay(attempt, time.Second, 30*time.Second, Chance(0, attempt))
		}
		if !different {
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
