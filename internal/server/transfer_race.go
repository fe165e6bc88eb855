//go:build race

package server

import "syscall"

// Under the race detector the bytes go the way it knows: what a client sent
// happened before what its server does about it.

func receiveNow(socket uintptr, p []byte) (int, syscall.Errno) {
	return outcome(syscall.Read(int(socket), p))
}

func sendNow(socket uintptr, p []byte) (int, syscall.Errno) {
	return outcome(syscall.Write(int(socket), p))
}

func outcome(n int, err error) (int, syscall.Errno) {
	if errno, ok := err.(syscall.Errno); ok {
		return 0, errno
	}
	return n, 0
}
