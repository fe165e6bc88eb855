//go:build !linux

package doctor

import "golang.org/x/sys/unix"

// unfitDisk knows the kinds of disk by the numbers of Linux only.
func unfitDisk(*unix.Statfs_t) string { return "" }
