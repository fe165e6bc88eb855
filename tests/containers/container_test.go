package containers

import (
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// container is a process that is started again when it ends, until it is
// stopped.
type container struct {
	log   *logged
	again bool
	grace time.Duration

	mu      sync.Mutex
	process *os.Process
	stopped bool
	ended   chan struct{} // closed after the last run
	code    int           // of the last run
}

// pause lies between two runs.
const pause = 200 * time.Millisecond

func (c *container) run(t testing.TB, command []string) {
	t.Helper()
	c.ended = make(chan struct{})
	stop := make(chan struct{})
	process, err := c.begin(command)
	require.NoError(t, err)
	go func() {
		defer close(c.ended)
		for {
			_ = process.Wait() // its code says how it ended
			c.mu.Lock()
			c.code = process.ProcessState.ExitCode()
			done := c.stopped || !c.again
			c.mu.Unlock()
			if done {
				return
			}
			select {
			case <-stop:
				return
			case <-time.After(pause):
			}
			if process, err = c.begin(command); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		c.signal(syscall.SIGKILL)
		<-c.ended
		if t.Failed() {
			t.Logf("%s", c.log)
		}
	})
}

// begin starts a process that is the first of a group of its own.
func (c *container) begin(command []string) (*exec.Cmd, error) {
	process := exec.Command(command[0], command[1:]...)
	process.Stdout, process.Stderr = c.log, c.log
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.mu.Lock()
	defer c.mu.Unlock()
	err := process.Start()
	c.process = process.Process
	return process, err
}

// signal tells the first process, and a SIGKILL to all, as the end of the first
// would in a container.
func (c *container) signal(signal syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	to := c.process.Pid
	if signal == syscall.SIGKILL {
		to = -to
	}
	_ = syscall.Kill(to, signal) // it may have ended
}

// stop ends it as an engine does, and returns its exit code.
func (c *container) stop(t testing.TB) int {
	t.Helper()
	c.signal(syscall.SIGTERM)
	grace := time.NewTimer(max(c.grace, 10*time.Second))
	defer grace.Stop()
	select {
	case <-c.ended:
	case <-grace.C:
		t.Fatalf("it did not end within its grace period\n%s", c.log)
	}
	return c.code
}
