package faults

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	harness.Main(m, 10, func() error {
		return goleak.Find(
			// fasthttp's pool looks every ten seconds whether it has ended, and one
			// goroutine a process keeps the Date header.
			goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
			goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		)
	})
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
