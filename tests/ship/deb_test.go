//go:build ship

package ship

import (
	"fmt"
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
		"usr/share/bus-api-provider-vm/grafana/dashboard.json":  "-rw-r--r-- root/root",
		"usr/share/bus-api-provider-vm/systemd/before-253.conf": "-rw-r--r-- root/root",
		"usr/share/doc/bus-api-provider-vm/CHANGELOG.md.gz":     "-rw-r--r-- root/root",
		"usr/share/doc/bus-api-provider-vm/api.html":            "-rw-r--r-- root/root",
		"usr/share/doc/bus-api-provider-vm/changelog.gz":        "-rw-r--r-- root/root",
		"usr/share/doc/bus-api-provider-vm/operations.md":       "-rw-r--r-- root/root",
		"usr/share/doc/bus-api-provider-vm/package.md":          "-rw-r--r-- root/root",
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

// targets are the systems that dist/ was built for, as deploy/package takes them.
func targets(t testing.TB) (list []string) {
	t.Helper()
	directories, err := filepath.Glob(inRoot(t, "dist", "*_*", name))
	require.NoError(t, err)
	for _, binary := range directories {
		list = append(list, strings.Replace(filepath.Base(filepath.Dir(binary)), "_", "/", 1))
	}
	require.NotEmpty(t, list, "run `just release` first")
	return list
}

// Each system has its archive and its SBOM, Linux a package, and each of them a sum.
func TestReleaseIsWhole(t *testing.T) {
	version := versionField.FindStringSubmatch(output(t, "dpkg-deb", "-I", packaged(t)))[1]
	want := []string{}
	for _, target := range targets(t) {
		system, machine, _ := strings.Cut(target, "/")
		whole := fmt.Sprintf("%s_%s_%s_%s", name, version, system, machine)
		want = append(want, whole+".cdx.json", whole+".tar.gz")
		if system == "linux" {
			want = append(want, fmt.Sprintf("%s_%s_%s.deb", name, version, machine))
		}
		listing := output(t, "tar", "-tvzf", inRoot(t, "dist", whole+".tar.gz"))
		for _, file := range []string{"LICENSE", "CHANGELOG.md", "third-party.gz", "config.yaml", "nginx/bus-vm.conf", name + ".8.gz"} {
			require.Regexp(t, `(?m)^-rw-r--r-- 0/0 .* `+regexp.QuoteMeta(whole+"/"+file)+"$", listing)
		}
		require.Regexp(t, `(?m)^-rwxr-xr-x 0/0 .* `+regexp.QuoteMeta(whole+"/"+name)+"$", listing)
		sum, _, _ := strings.Cut(output(t, "sha256sum", inRoot(t, "dist", strings.Replace(target, "/", "_", 1), name)), " ")
		materials, err := os.ReadFile(inRoot(t, "dist", whole+".cdx.json"))
		require.NoError(t, err)
		require.Contains(t, string(materials), `"content": "`+sum+`"`, "the SBOM is of this binary")
	}
	sums, err := os.ReadFile(inRoot(t, "dist/SHA256SUMS"))
	require.NoError(t, err)
	var listed []string
	for line := range strings.Lines(string(sums)) {
		listed = append(listed, strings.Fields(line)[1])
	}
	require.ElementsMatch(t, want, listed)
	output(t, "sh", "-c", `cd "$0" && sha256sum --quiet -c SHA256SUMS`, inRoot(t, "dist"))
}

// Built again from a copy elsewhere, by another umask, it is the same to the
// byte.
func TestReleaseIsReproducible(t *testing.T) {
	elsewhere := filepath.Join(t.TempDir(), "a directory of another length", "copy")
	require.NoError(t, os.MkdirAll(filepath.Dir(elsewhere), 0o755))
	output(t, "sh", "-c", `umask 077 && cp -r --preserve=mode "$0" "$1" && rm -rf "$1/dist"`, inRoot(t), elsewhere)
	build := exec.Command("sh", "-c", "umask 077 && deploy/package "+strings.Join(targets(t), " "))
	build.Dir = elsewhere
	said, err := build.CombinedOutput()
	require.NoError(t, err, "%s", said)
	for _, files := range []string{"SHA256SUMS", "*.*", "*/*"} {
		output(t, "bash", "-c", `shopt -s nullglob; cd "$0" && for file in `+files+`; do [ -d "$file" ] || cmp "$file" "$1/$file" || exit; done`,
			inRoot(t, "dist"), filepath.Join(elsewhere, "dist"))
	}
}
