package doctor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
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
		{"where nobody may write", "/proc/self", found{Failed, "open /proc/self/.*", "make /proc/self writable.*"}},
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

func TestDisks(t *testing.T) {
	const roomy = 1 << 20 // blocks
	disk := func(kind int64, blocks uint64) *unix.Statfs_t {
		var d unix.Statfs_t
		d.Type, d.Bavail, d.Bsize = kind, blocks, 4096
		return &d
	}
	judge := func(kind int64, blocks uint64) []Check { return judgeDisk("/data", disk(kind, blocks)) }
	const name = "data directory"
	requireChecks(t, "roomy", name, judge(unix.EXT4_SUPER_MAGIC, roomy))
	requireChecks(t, "narrow", name, judge(unix.EXT4_SUPER_MAGIC, spaceUnwise/4096-1), found{Warning, "255 MB are free", "free space on the disk of /data"})
	requireChecks(t, "full", name, judge(unix.XFS_SUPER_MAGIC, 0), found{Failed, "0 MB are free", "free space.*"})
	requireChecks(t, "in memory", name, judge(unix.TMPFS_MAGIC, roomy), found{Warning, "/data is in memory .*", "choose a local disk.*"})
	requireChecks(t, "remote and full", name, judge(unix.NFS_SUPER_MAGIC, 1),
		found{Warning, "/data is on NFS.*", "choose a local disk.*"}, found{Failed, "0 MB are free", "free space.*"})
}
