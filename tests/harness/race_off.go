//go:build !race

package harness

import "os"

// RaceFlags make a binary like the test that drives it, and with E2E_RACE=1 one with the
// race detector.
func RaceFlags() []string {
	if os.Getenv("E2E_RACE") == "1" {
		return []string{"-race"}
	}
	return nil
}
