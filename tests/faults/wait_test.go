package faults

import (
	"context"
	"fmt"
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

// rows runs a test for each row of a table, side by side.
func rows[R any](t *testing.T, table map[string]R, run func(*testing.T, R)) {
	t.Parallel()
	for name, row := range table {
		t.Run(name, func(t *testing.T) { run(t, row) })
	}
}

// each is rows of a list, named by what they are.
func each[R any](t *testing.T, list []R, run func(*testing.T, R)) {
	table := map[string]R{}
	for _, row := range list {
		table[fmt.Sprint(row)] = row
	}
	rows(t, table, run)
}
