package events

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
			got := delay(attempt, time.Second, 30*time.Second, seed)
			if got < want.floor || got > want.ceiling {
				t.Fatalf("delay(%d), seed %d = %v, want %v to %v", attempt, seed, got, want.floor, want.ceiling)
			}
			if got != delay(attempt, time.Second, 30*time.Second, seed) {
				t.Fatalf("delay(%d), seed %d is not a function", attempt, seed)
			}
			different = different || got != delay(attempt, time.Second, 30*time.Second, 0)
		}
		if !different {
			t.Errorf("delay(%d) has no jitter", attempt)
		}
	}
}

func TestDelayForAnySettings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		attempt := rapid.IntRange(0, math.MaxInt32).Draw(t, "attempt")
		highest := time.Duration(rapid.Int64Min(1).Draw(t, "highest"))
		lowest := time.Duration(rapid.Int64Min(1).Draw(t, "lowest"))
		got := delay(attempt, lowest, highest, rapid.Uint64().Draw(t, "seed"))
		if got < min(lowest, highest) || got > highest {
			t.Fatalf("delay = %v outside [%v, %v]", got, lowest, highest)
		}
	})
}
