package doctor

import (
	"testing"

	"golang.org/x/sys/unix"
)

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
