package doctor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDataDir(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	requireChecks(t, "not needed", "data directory", Config{}.dataDir(background()))
	for _, c := range []struct {
		about, dir string
		want       found
	}{
		{"there", dir, found{OK, dir + `: written and synced in \S+, \d+ MB free`, ""}},
		{"not there yet", filepath.Join(dir, "a", "b"), found{OK, `.*/a/b is going to be made; ` + dir + `: written.*`, ""}},
		{"a file", file, found{Failed, file + " is no directory", "make the directory.*"}},
		{"below a file", filepath.Join(file, "a"), found{Failed, ".*not a directory", "make the directory.*"}},
		{"not writable by any user", "/proc/self", found{Failed, "open /proc/self/.*", "make /proc/self writable.*"}},
	} {
		got := Config{DataDir: c.dir}.dataDir(background())
		if c.want.status == OK && got[0].Status == Warning {
			continue // of a slow, full or volatile disk; TestDisks has those
		}
		requireChecks(t, c.about, "data directory", got, c.want)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "nothing is left behind, and nothing is made")
}
