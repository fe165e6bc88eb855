package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// userHZ is the unit of /proc/stat, fixed by the kernel's interface.
const userHZ = 100

// startOn starts cmd on one core: a child inherits the affinity of the thread
// that makes it. That thread returns to home.
func startOn(core, home int, cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := pinThread(0, core); err != nil {
		return err
	}
	err := cmd.Start()
	return errors.Join(err, pinThread(0, home))
}

// pinSelf moves all threads of this program, and those still to come, to core.
func pinSelf(core int) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			return err
		}
		if err := pinThread(id, core); err != nil {
			return err
		}
	}
	return nil
}

func pinThread(id, core int) error {
	var set unix.CPUSet
	set.Set(core)
	return unix.SchedSetaffinity(id, &set)
}

// cpuTime is the CPU time, user and system, of all threads of a process that
// ever were, to the nanosecond: the scheduler's own sum (clock_getcpuclockid(3)).
func cpuTime(pid int) time.Duration {
	const cpuclockSched = 2
	var t unix.Timespec
	check(unix.ClockGettime(int32(^pid<<3|cpuclockSched), &t))
	return time.Duration(t.Nano())
}

// busyTime is the CPU time all processes of the machine have used.
func busyTime() time.Duration {
	data := must(os.ReadFile("/proc/stat"))
	line, _, _ := strings.Cut(string(data), "\n")
	var busy int64
	for i, field := range strings.Fields(line)[1:] {
		ticks := must(strconv.ParseInt(field, 10, 64))
		const idle, iowait, steal = 3, 4, 7
		if i != idle && i != iowait && i <= steal {
			busy += ticks
		}
	}
	return time.Duration(busy) * time.Second / userHZ
}

// resident is the memory of a process that is in RAM, in bytes.
func resident(pid int) int64 {
	text := procField(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Rss")
	return must(strconv.ParseInt(strings.TrimSuffix(text, " kB"), 10, 64)) << 10
}
