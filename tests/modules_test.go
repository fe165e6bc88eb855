package tests

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Fiber alone would bring fasthttp 1.51, whose parser takes duplicate
// Content-Length and Host headers: requests could be smuggled past a proxy.
func TestFasthttpIsNewEnough(t *testing.T) {
	goMod, err := os.ReadFile("../go.mod")
	require.NoError(t, err)
	assert.Regexp(t, `(?m)^\s*(require )?github\.com/valyala/fasthttp v1\.(7[89]|[89]\d|\d{3,})\.`, string(goMod), "1.78.0 or newer")
	assert.NotRegexp(t, `github\.com/valyala/fasthttp\s.*=>`, string(goMod), "as it is published")
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
