// Package faults holds the gateway in events mode to its promises while the
// world around it breaks. Its tests run the whole gateway, in this process or
// as the built binary, against the Bus Events API and workers of
// tests/platform, break one thing, put it right, and ask the platform what
// really happened.
//
// # What must hold after every test
//
// The rig of each test checks it at its end, whatever else the test looked at:
//
//   - every request was answered once, in the envelope, with a status that
//     fits its type, on a connection that carried nothing else;
//   - a 202 has exactly one requested and one finished record at the usage
//     worker; whatever was published to the VM worker has a requested record
//     and one end; whatever is on record is whole;
//   - nothing was published to the VM worker before billing allowed that
//     write, and no write was published twice;
//   - nothing at all was published for a caller refused with 400, 401 or 403,
//     and nothing but the entitlement check for a 402;
//   - no read after a 202 showed a status that was asked for before it;
//   - no record waits, no request waits, and every gateway ended with the
//     exit code that the test says;
//   - no log holds a token or a secret.
//
// Each write is made by an account of its own, so the platform's records tell
// writes apart without a word from the gateway.
//
// # Families
//
// One file each: absent and returning API (away), sick API and mangled streams (sick),
// deadlines and replicas of replies (late), workers, tokens, clock, disk, kill -9 (kill),
// replicas, load and what it leaves (load), and all of it for an hour (soak).
package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

func TestMain(m *testing.M) {
	harness.Main(m, 10, func() error { return goleak.Find(harness.FasthttpStays...) })
}

// The page of faults names a test in each row, and every test there is.
func TestEveryFaultOfThePageHasItsTest(t *testing.T) {
	page, err := os.ReadFile("../../docs/events-mode.md")
	require.NoError(t, err)
	read := func(pattern string) (code string) {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			code += string(text)
		}
		return code
	}
	all := read("../*/*_test.go") + read("../../routes/*_test.go") + read("../../internal/*/*_test.go") // the page names tests of other directories too
	rows, faults := 0, false
	for line := range strings.Lines(string(page)) {
		named := regexp.MustCompile("`(Test[A-Za-z]+)`").FindAllStringSubmatch(line, -1)
		for _, name := range named {
			assert.True(t, strings.Contains(all, "\nfunc "+name[1]+"("), "there is no %s", name[1])
		}
		header := strings.HasPrefix(line, "| fault")
		faults = strings.HasPrefix(line, "|") && (faults || header) // the page has other tables
		if faults && !header && strings.HasPrefix(line, "| ") {
			rows++
			assert.NotEmpty(t, named, "no test in the row %s", line)
		}
	}
	assert.GreaterOrEqual(t, rows, 20)
	for _, match := range regexp.MustCompile(`(?m)^func (Test[A-Za-z]+)\(`).FindAllStringSubmatch(read("*_test.go"), -1) {
		if name := match[1]; name != "TestMain" && name != t.Name() {
			assert.True(t, strings.Contains(string(page), "`"+name+"`"), "%s is not on the page", name)
		}
	}
}

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
