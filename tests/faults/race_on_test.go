//go:build race

package faults

// raceEnabled makes the built binary like the test that drives it.
const raceEnabled = true
