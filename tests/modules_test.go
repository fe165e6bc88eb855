package tests

import (
	"os"
	"os/exec"
	"strings"
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
	for _, path := range []string{"../go.mod", "containers/go.mod", "plots/go.mod", "plugin/go.mod"} {
		goMod, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Regexp(t, `(?m)^go 1\.26\.0$`, string(goMod), path)
		assert.NotRegexp(t, `(?m)^toolchain`, string(goMod), path)
	}
}

// A release is what a tag names: its version is that of the tag, and each commit after it
// has a later one, which Debian and semantic versioning sort so.
func TestVersionIsThatOfTheTag(t *testing.T) {
	directory := t.TempDir()
	sh := func(script string) string {
		command := exec.Command("sh", "-euc", script)
		command.Dir = directory
		command.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
			"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t")
		said, err := command.CombinedOutput()
		require.NoError(t, err, "%s", said)
		return strings.TrimSpace(string(said))
	}
	script, err := os.ReadFile("../deploy/version")
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(directory+"/deploy", 0o755))
	require.NoError(t, os.WriteFile(directory+"/deploy/version", script, 0o755))
	sh("git init -q && git add . && git commit -qm one")
	assert.Regexp(t, `^0\.0\.0\+1\.g[0-9a-f]{12}$`, sh("deploy/version"))
	sh("git tag v0.1.0")
	assert.Equal(t, "0.1.0", sh("deploy/version"))
	sh("git commit -q --allow-empty -m two")
	assert.Regexp(t, `^0\.1\.0\+1\.g[0-9a-f]{12}$`, sh("deploy/version"))
	for _, odd := range []string{"v0.2.0-rc1", "v1", "v1.0", "v2.0.0.0", "v3.0.0/x", "v1v2.3.4", "vnext"} {
		sh("git tag " + odd)
		assert.Regexp(t, `^0\.1\.0\+1\.g[0-9a-f]{12}$`, sh("deploy/version"), odd)
	}
	sh("echo >>deploy/version")
	assert.Regexp(t, `^0\.1\.0\+1\.g[0-9a-f]{12}\.dirty$`, sh("deploy/version"))
}

// No release is built that the changelog does not tell of.
func TestReleaseIsInTheChangelog(t *testing.T) {
	text, err := os.ReadFile("../CHANGELOG.md")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "## ") {
			assert.Regexp(t, `^## (Unreleased|[0-9]+\.[0-9]+\.[0-9]+ \(20[0-9]{2}-[0-9]{2}-[0-9]{2}\))\n$`, line)
		}
	}
	build := exec.Command("../deploy/package")
	build.Env = append(os.Environ(), "VERSION=999.0.0")
	said, err := build.CombinedOutput()
	assert.Error(t, err)
	assert.Equal(t, "CHANGELOG.md says nothing about 999.0.0: give its section the heading \"## 999.0.0 (YEAR-MONTH-DAY)\"\n", string(said))
	for _, odd := range []string{"999.0.0-rc1", "v999.0.0", "1", "999.0.0/x", "999.0.0 -X main.a=b", "999.0.0+1/../x"} {
		build := exec.Command("../deploy/package")
		build.Env = append(os.Environ(), "VERSION="+odd)
		said, err := build.CombinedOutput()
		assert.Error(t, err)
		assert.Contains(t, string(said), "the version "+odd+" is not like 1.2.3")
	}
}
