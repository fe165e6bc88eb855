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
		last := floor - 1
		for _, chance := range []float64{0, .3, .6, math.Nextafter(1, 0)} {
			got := Delay(attempt, time.Second, 30*time.Second, chance)
			if got <= last || got > 2*floor {
				t.Fatalf("Delay(%d), chance %v = %v, want more than %v, to %v", attempt, chance, got, last, 2*floor)
			}
			last = got
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
