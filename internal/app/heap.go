package app

import "runtime"

// heapFloor is how large the heap counts at least, in bytes, when the collector
// decides when to run next. The gateway keeps a few megabytes alive, and would
// collect them hundreds of times a second under a flood of new tokens. The
// address space is never touched, so it takes no memory.
const heapFloor = 8 << 20

// raiseHeap holds the floor until release is called.
func raiseHeap() (release func()) {
	floor := make([]byte, heapFloor)
	return func() { runtime.KeepAlive(&floor[0]) }
}
