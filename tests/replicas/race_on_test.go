//go:build race

package replicas

// buildFlags make the built binary like the test that drives it.
var buildFlags = []string{"-race"}
