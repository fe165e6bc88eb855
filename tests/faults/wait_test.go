package faults

import (
	"context"
	"testing"
	"time"
)

// waitLimit bounds every wait for what should come at once or after a deadline
// of the gateway. Nothing that is well waits for all of it.
const waitLimit = time.Minute

const pollEvery = 5 * time.Millisecond

func patiently() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), waitLimit)
}

// eventually polls until ok; false means that waitLimit ended first. It is for
// what nothing signals: the inside of another process.
func eventually(ok func() bool) bool {
	ctx, cancel := patiently()
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
