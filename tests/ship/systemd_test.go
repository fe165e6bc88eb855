//go:build ship

package ship

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// notKnownYet is what systemd before 253 says of Type=notify-reload; it then
// takes the Type=notify before it.
var notKnownYet = regexp.MustCompile(`(?m)^.*Failed to parse service type, ignoring: notify-reload\n`)

// The units as they are packaged, and with each drop-in that is offered.
func TestUnitsVerify(t *testing.T) {
	root := unpacked(t)
	systemUnits := filepath.Join(root, "usr/lib/systemd/system")
	targets, err := filepath.Glob("/usr/lib/systemd/system/*.target")
	require.NoError(t, err)
	require.NotEmpty(t, targets, "install systemd")
	output(t, "cp", append(targets, systemUnits)...)
	verify := func() string {
		said := output(t, "systemd-analyze", "verify", "--root="+root, name+".service", name+".socket")
		return notKnownYet.ReplaceAllString(said, "")
	}
	require.Empty(t, verify())
	unit, err := os.ReadFile(filepath.Join(systemUnits, name+".service"))
	require.NoError(t, err)
	require.Regexp(t, `(?s)^[^[]*\[Unit\][^[]*\nStartLimitIntervalSec=0\n`, string(unit), "fast exits must not leave the service down")

	dropIns := filepath.Join(systemUnits, name+".service.d")
	require.NoError(t, os.Mkdir(dropIns, 0o755))
	output(t, "cp", inRoot(t, "deploy/systemd/before-253.conf"), dropIns)
	require.NoError(t, os.WriteFile(filepath.Join(root, "usr/bin/kill"), nil, 0o755))
	require.NoError(t, os.Symlink("usr/bin", filepath.Join(root, "bin")))
	require.Empty(t, verify())

	// The check sees what is wrong.
	require.NoError(t, os.WriteFile(filepath.Join(dropIns, "wrong.conf"), []byte("[Service]\nProtectSytem=strict\n"), 0o644))
	require.Contains(t, verify(), "ProtectSytem")
}

// Exposure from 0 (none) to 10, as systemd 252 counts it; what is left is that
// a network service needs the network.
func TestUnitIsHardened(t *testing.T) {
	const exposure = "15" // of 100
	output(t, "systemd-analyze", "security", "--offline=true", "--threshold="+exposure, inRoot(t, "deploy/systemd", name+".service"))
}
