package faults

import (
	"context"
	"fmt"
	"testing"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

const waitLimit = harness.WaitLimit

var eventually = harness.Holds

func patiently() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), waitLimit)
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
