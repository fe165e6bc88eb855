//go:build ship

package ship

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPackageIsClean(t *testing.T) {
	output(t, "lintian", "--allow-root", "--fail-on", "error,warning", packaged(t))
}

// What a package of a static binary must hold, with the modes it needs.
func TestPackageHolds(t *testing.T) {
	listing := output(t, "dpkg-deb", "-c", packaged(t))
	for path, mode := range map[string]string{
		"usr/bin/bus-api-provider-vm":                           "-rwxr-xr-x root/root",
		"usr/lib/systemd/system/bus-api-provider-vm.service":    "-rw-r--r-- root/root",
		"usr/lib/systemd/system/bus-api-provider-vm.socket":     "-rw-r--r-- root/root",
		"etc/bus-api-provider-vm/config.yaml":                   "-rw-r--r-- root/root",
		"usr/share/bus-api-provider-vm/config.yaml":             "-rw-r--r-- root/root",
		"usr/share/bus-api-provider-vm/nginx/bus-vm.conf":       "-rw-r--r-- root/root",
		"usr/share/bus-api-provider-vm/prometheus/alerts.yml":   "-rw-r--r-- root/root",
		"usr/share/bus-api-provider-vm/systemd/before-253.conf": "-rw-r--r-- root/root",
		"usr/share/doc/bus-api-provider-vm/copyright":           "-rw-r--r-- root/root",
		"usr/share/doc/bus-api-provider-vm/third-party.gz":      "-rw-r--r-- root/root",
		"usr/share/man/man8/bus-api-provider-vm.8.gz":           "-rw-r--r-- root/root",
	} {
		require.Regexp(t, "(?m)^"+regexp.QuoteMeta(mode)+` .* \./`+regexp.QuoteMeta(path)+"$", listing)
	}
	root := unpacked(t)
	require.Contains(t, output(t, "file", filepath.Join(root, "usr/bin", name)), "statically linked")
	require.Equal(t, "/etc/bus-api-provider-vm/config.yaml\n", output(t, "dpkg-deb", "-I", packaged(t), "conffiles"))
	page := filepath.Join(root, "usr/share/man/man8", name+".8.gz")
	require.Empty(t, output(t, "sh", "-c", "LC_ALL=C.UTF-8 MANROFFSEQ= MANWIDTH=100 man --warnings -E UTF-8 -l -Tutf8 -Z "+page+" 2>&1 >/dev/null"))
}

var versionField = regexp.MustCompile(`(?m)^ Version: (\S+)$`)

// The binary says the version of the package.
func TestPackageVersion(t *testing.T) {
	version := versionField.FindStringSubmatch(output(t, "dpkg-deb", "-I", packaged(t)))[1]
	require.Regexp(t, `^[0-9]+\.[0-9]+\.[0-9]+([+.][A-Za-z0-9.]+)*$`, version)
	said := output(t, filepath.Join(unpacked(t), "usr/bin", name), "--version")
	require.True(t, strings.HasPrefix(said, name+" "+version+" ("), said)
}

// Built again from a copy elsewhere, by another umask, it is the same to the
// byte.
func TestPackageIsReproducible(t *testing.T) {
	elsewhere := filepath.Join(t.TempDir(), "a directory of another length", "copy")
	require.NoError(t, os.MkdirAll(filepath.Dir(elsewhere), 0o755))
	output(t, "sh", "-c", `umask 077 && cp -r --preserve=mode "$0" "$1" && rm -rf "$1/dist"`, inRoot(t), elsewhere)
	build := exec.Command("sh", "-c", "umask 077 && deploy/package")
	build.Dir = elsewhere
	said, err := build.CombinedOutput()
	require.NoError(t, err, "%s", said)
	for _, file := range []string{name, filepath.Base(packaged(t))} {
		output(t, "cmp", inRoot(t, "dist", file), filepath.Join(elsewhere, "dist", file))
	}
}
