//go:build !race

package server

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// receiveNow reads from a socket without waiting, and sendNow writes to one.
// What never waits is never interrupted, and the scheduler need not know of it;
// so they cost a good deal less than a net.Conn's Read and Write.

func receiveNow(socket uintptr, p []byte) (int, syscall.Errno) {
	return transfer(unix.SYS_RECVFROM, socket, p)
}

func sendNow(socket uintptr, p []byte) (int, syscall.Errno) {
	return transfer(unix.SYS_SENDTO, socket, p)
}

func transfer(call, socket uintptr, p []byte) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(call, socket,
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
