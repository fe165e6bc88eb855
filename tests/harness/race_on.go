//go:build race

package harness

// RaceFlags make a binary like the test that drives it.
func RaceFlags() []string { return []string{"-race"} }
