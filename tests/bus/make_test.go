package bus

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// platformVariables are what the platform's top Makefile gives that of a module.
const platformVariables = ` BIN_DIR="$PWD/bin" PREFIX="$PREFIX" BINDIR="$PREFIX/bin" GO=go GOFLAGS="$GOFLAGS" ` +
	`GOCACHE="$(go env GOCACHE)" CGO_ENABLED=0 BUILD_STATIC=1 BINARY=` + name

func TestMake(t *testing.T) {
	harness.Needs(t, "make")
	destination := t.TempDir()
	env := []string{"DESTDIR=" + destination, "PREFIX=/opt/busdk", "TEST_PKGS=./internal/backoff"}
	installed := filepath.Join(destination, "opt/busdk/bin", name)

	printed(t, command(t, env, "make build test install"+platformVariables))
	for _, binary := range []string{filepath.Join(harness.Directory(), "bin", name), installed} {
		info, err := os.Stat(binary)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o755), info.Mode().Perm())
		require.Regexp(t, `^bus-api-provider-vm 0\.0\.0 `, printed(t, exec.Command(binary, "version")))
	}

	printed(t, command(t, env, "make clean uninstall"+platformVariables))
	require.NoDirExists(t, filepath.Join(harness.Directory(), "bin"))
	require.NoFileExists(t, installed)
}

// Where make installs without being told BINDIR.
func TestMakeInstallsTo(t *testing.T) {
	harness.Needs(t, "make")
	for env, want := range map[string]string{
		"HOME=/h":                       "/h/.local/bin",
		"HOME=/h GOBIN=/g":              "/g",
		"HOME=/h GOBIN=/g PREFIX=/p":    "/p/bin",
		"HOME=/h GOBIN=/g BINDIR=/b":    "/b",
		"HOME=/h PREFIX=/p DESTDIR=/d/": "/d//p/bin",
	} {
		lines := printed(t, command(t, strings.Fields(env), "make -n install VERSION=0.0.0"))
		require.Contains(t, lines, "mkdir -p '"+want+"'\n", env)
		require.Contains(t, lines, "'"+want+"/"+name+"'\n", env)
	}
}
