package e2e

import (
	"testing"
	"time"
)

// waitLimit bounds every wait for something that should happen at once. It is
// long because machines are slow at times; nothing waits for all of it.
const waitLimit = 10 * time.Second

const pollEvery = 2 * time.Millisecond

// eventually polls until ok, and fails the test when that takes too long. It
// is the only way in which these tests wait for another process.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(waitLimit)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("after %s still not: %s", waitLimit, what)
		case <-tick.C:
		}
	}
}
