package tests

import (
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	fasthttpLine = regexp.MustCompile(`(?m)^\s*(?:require\s+)?github\.com/valyala/fasthttp\s+v(\d+)\.(\d+)\.(\d+)\s*(?://.*)?$`)
	replaceLine  = regexp.MustCompile(`(?m)^\s*(?:replace\s+)?github\.com/valyala/fasthttp\s.*=>`)
)

// newEnough reports whether go.mod requires fasthttp 1.78 or newer, as it is
// published.
func newEnough(goMod string) bool {
	version := fasthttpLine.FindStringSubmatch(goMod)
	if version == nil || replaceLine.MatchString(goMod) {
		return false
	}
	major, _ := strconv.Atoi(version[1])
	minor, _ := strconv.Atoi(version[2])
	return major == 1 && minor >= 78
}

// Fiber alone would bring fasthttp 1.51, whose parser takes duplicate
// Content-Length and Host headers: requests could be smuggled past a proxy.
func TestFasthttpIsNewEnough(t *testing.T) {
	goMod, err := os.ReadFile("../go.mod")
	require.NoError(t, err)
	assert.True(t, newEnough(string(goMod)), "go.mod must require github.com/valyala/fasthttp v1.78.0 or newer, and not replace it")
}

// The platform builds with the Go that its image has, and GOTOOLCHAIN=local.
func TestModulesTakeThePlatformsGo(t *testing.T) {
	for _, path := range []string{"../go.mod", "containers/go.mod", "plugin/go.mod"} {
		goMod, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Regexp(t, `(?m)^go 1\.26\.0$`, string(goMod), path)
		assert.NotRegexp(t, `(?m)^toolchain`, string(goMod), path)
	}
}
