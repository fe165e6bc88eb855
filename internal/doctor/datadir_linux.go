package doctor

import "golang.org/x/sys/unix"

// Where files are gone with the machine, or where locks and syncs are another
// machine's promise (statfs(2)).
var unfitDisks = map[int64]string{
	unix.TMPFS_MAGIC:      "is in memory (tmpfs): records are lost with the machine",
	unix.RAMFS_MAGIC:      "is in memory (ramfs): records are lost with the machine",
	unix.NFS_SUPER_MAGIC:  "is on NFS, whose locks and syncs depend on its server",
	unix.SMB_SUPER_MAGIC:  "is on SMB, whose locks and syncs depend on its server",
	unix.CIFS_SUPER_MAGIC: "is on CIFS, whose locks and syncs depend on its server",
}

func unfitDisk(disk *unix.Statfs_t) string { return unfitDisks[int64(disk.Type)] }
