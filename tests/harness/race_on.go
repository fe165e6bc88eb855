//go:build race

package harness

// RaceFlags make a binary like the test that drives it.
var RaceFlags = []string{"-race"}
