package faults

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/busdk/bus-api-provider-vm/internal/cli"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

func newHangs(t *testing.T) *hangs {
	r := newRig(t)
	h := &hangs{rig: r, home: r.home()}
	for name, text := range map[string]string{
		"settings.yaml": "log:\n  level: debug\n", "token": mint(platform.ProviderScope), "secrets": callerSecret,
		"jwks": `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`,
	} {
		harness.Replace(t, h.file(name), text)
	}
	h.notify = harness.NewManager(t)
	addr := harness.FreeAddress(t)
	h.command = exec.Command(harness.Gateway(t))
	h.command.Env = append(r.environment(h.home, []string{
		"BUS_VM_ADDR=" + addr, "NOTIFY_SOCKET=" + h.notify.Path, "BUS_VM_CONFIG=" + h.file("settings.yaml"),
		"BUS_API_TOKEN=", "BUS_API_TOKEN_FILE=" + h.file("token"), "BUS_VM_JWT_SECRET=", "BUS_VM_JWT_SECRET_FILE=" + h.file("secrets"),
		"BUS_VM_JWKS_FILE=" + h.file("jwks"), "BUS_VM_LOG_LEVEL=",
		"BUS_VM_SHUTDOWN_DELAY=" + hangDelay.String(), "BUS_VM_SHUTDOWN_TIMEOUT=" + hangTimeout.String(),
	}), adminAddr(h.home))
	h.g = newGateway(t, h.home, h.command.Env)
	h.g.addr = addr
	var stderr *os.File
	var err error
	h.log, stderr, err = os.Pipe()
	require.NoError(t, err)
	h.command.Stderr = stderr
	t.Cleanup(func() { _ = h.log.Close(); _ = stderr.Close() })
	h.pump()
	return h
}

func (h *hangs) file(name string) string { return filepath.Join(h.home, name) }

// start launches the process, which may hang.
func (h *hangs) start() {
	h.t.Helper()
	h.g.run(h.command)
	if strings.HasSuffix(h.command.Path, "strace") {
		require.True(h.t, eventually(func() bool { return h.status("TracerPid:") != "0" }))
		tracer, err := strconv.Atoi(h.status("TracerPid:"))
		require.NoError(h.t, err)
		h.endTracer(tracer)
	}
	h.lives = append(h.lives, h.g)
}

// pump reads the log, until fillLog.
func (h *hangs) pump() {
	require.NoError(h.t, h.log.SetReadDeadline(time.Time{}))
	h.pumped = make(chan struct{})
	go func(pumped chan struct{}) {
		defer close(pumped)
		_, _ = io.Copy(h.g.log, h.log)
	}(h.pumped)
}

// fillLog ends the reading and fills the pipe of the log.
func (h *hangs) fillLog() {
	require.NoError(h.t, h.log.SetReadDeadline(time.Unix(1, 0)))
	<-h.pumped
	// A description of our own: that of the process blocks.
	pipe, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", h.command.Stderr.(*os.File).Fd()), os.O_WRONLY|syscall.O_NONBLOCK, 0)
	require.NoError(h.t, err)
	defer pipe.Close()
	h.fill(pipe, "\n") // to the last byte
}

func (h *hangs) fillNotify() {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: h.notify.Path, Net: "unixgram"})
	require.NoError(h.t, err)
	defer c.Close()
	h.fill(c, "X=1")
}

// fill writes until the kernel takes no more.
func (h *hangs) fill(to syscall.Conn, text string) {
	h.t.Helper()
	raw, err := to.SyscallConn()
	require.NoError(h.t, err)
	require.NoError(h.t, raw.Write(func(fd uintptr) bool {
		for err == nil {
			_, err = syscall.Write(int(fd), []byte(text))
		}
		return true
	}))
	require.ErrorIs(h.t, err, syscall.EAGAIN)
}

// fifo puts a pipe without a writer in the place of a file.
func fifo(name string) func(*hangs) {
	return func(h *hangs) {
		require.NoError(h.t, os.Remove(h.file(name)))
		require.NoError(h.t, syscall.Mkfifo(h.file(name), 0o600))
	}
}

// unreadable lets the opening of a file take until the end of the test.
func unreadable(name string) func(*hangs) {
	return func(h *hangs) {
		opens, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC, unix.O_RDONLY)
		if err == nil {
			h.t.Cleanup(func() { _ = unix.Close(opens) }) // which lets those that wait go on
			err = unix.FanotifyMark(opens, unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM, unix.AT_FDCWD, h.file(name))
		}
		if err != nil {
			require.NotEqual(h.t, "true", os.Getenv("CI"), "this test needs fanotify: %v", err)
			h.t.Skipf("no fanotify (%v); with CI=true this would be a failure", err)
		}
	}
}

// hangSync lets syncs of the process take for ever: from its start, or from now on.
func (h *hangs) hangSync() {
	h.t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		require.NotEqual(h.t, "true", os.Getenv("CI"), "this test needs strace")
		h.t.Skip("strace is not installed; with CI=true this would be a failure")
	}
	args := []string{"-f", "-qq", "-o", os.DevNull, "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:delay_enter=3600s"}
	if h.g.pid == 0 { // its tracer is its grandchild, so that its id and exit code are its own
		h.command.Path, h.command.Args = strace, append(append([]string{strace, "-D"}, args...), h.command.Path)
		return
	}
	tracer := exec.Command(strace, append(args, "-p", fmt.Sprint(h.g.pid))...)
	require.NoError(h.t, tracer.Start())
	h.t.Cleanup(func() { _ = tracer.Wait() })
	h.endTracer(tracer.Process.Pid)
	require.True(h.t, eventually(func() bool { // in all of its threads
		return len(h.tasks("")) > 0 && len(h.tasks("TracerPid:\t0\n")) == 0
	}), "strace does not trace")
}

// status is a field of the process's own /proc/PID/status.
func (h *hangs) status(field string) (value string) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.g.pid))
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			value = strings.TrimSpace(rest)
		}
	}
	return value
}

// syncs reports a thread that a delayed call holds: at other calls strace stops it for
// a moment only.
func (h *hangs) syncs() bool {
	stopped := h.tasks("State:\tt ")
	for range 10 {
		time.Sleep(harness.PollEvery)
		again := h.tasks("State:\tt ")
		stopped = slices.DeleteFunc(stopped, func(task string) bool { return !slices.Contains(again, task) })
	}
	return len(stopped) > 0
}

// tasks are the threads of the process whose status has the words.
func (h *hangs) tasks(words string) (with []string) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", h.g.pid))
	for _, task := range tasks {
		if text, err := os.ReadFile(task); err == nil && strings.Contains(string(text), words) {
			with = append(with, task)
		}
	}
	return with
}

// threads says in what each thread of the process is: one in a call that the kernel
// does not break off, such as a sync, keeps even a killed process from ending.
func (h *hangs) threads() (all string) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", h.g.pid))
	for _, task := range tasks {
		for _, name := range []string{"stat", "wchan", "syscall"} { // empty for one that has ended
			text, _ := os.ReadFile(filepath.Join(task, name))
			all += "\n" + string(text)
		}
	}
	return all
}

// endTracer ends strace once the process is ending, and at the end of the test: strace
// takes no notice that a thread whose call it delays has ended, and the kernel waits for
// its tracer. Threads of Go end with their process only.
func (h *hangs) endTracer(pid int) {
	over, gone := make(chan struct{}), make(chan struct{})
	h.t.Cleanup(func() { close(over); <-gone })
	go func() {
		defer close(gone)
		defer func() { _ = syscall.Kill(pid, syscall.SIGKILL) }()
		tick := time.NewTicker(harness.PollEvery)
		defer tick.Stop()
		for most := 0; !h.g.hasEnded(); {
			now := len(h.tasks(""))
			if now < most || len(h.tasks("State:\tZ")) > 0 {
				return
			}
			most = now
			select {
			case <-over:
				return
			case <-tick.C:
			}
		}
	}()
}

// serves waits until reads are answered.
func (h *hangs) serves() {
	h.t.Helper()
	require.True(h.t, eventually(func() bool { return h.g.hasEnded() || newCall(h.g, status).send().status == http.StatusOK }))
	require.False(h.t, h.g.hasEnded(), "the gateway ended instead of serving:\n%s", h.g.log)
	h.connected()
}

// wantRefusal wants the start to end with one message with words. What may pass is
// no mistake in the settings, after which systemd would not start it again.
func (h *hangs) wantRefusal(words []string) {
	h.t.Helper()
	code := cli.ExitRuntime
	if slices.Contains(words, notRegular) {
		code = cli.ExitUsage
	}
	assert.Equal(h.t, code, h.ends())
	said := h.g.log.all()
	for _, word := range words {
		assert.Contains(h.t, said, word)
	}
	h.startsAgain()
}

// startsAgain wants the next life to work, with what does not hang.
func (h *hangs) startsAgain() {
	h.t.Helper()
	g := h.begin(within, h.home)
	h.connected()
	h.wantWrite(g, start, http.StatusAccepted, "")
}

// goesOn is every column of the table.
func (h *hangs) goesOn(row hanging) {
	h.t.Helper()
	h.serves()
	if row.unwritable {
		c := h.write(h.g, start)
		h.want(c, http.StatusServiceUnavailable, unavailable)
		h.inTime(c.took(), 2*time.Second, "the refusal")
	} else {
		h.wantWrite(h.g, start, http.StatusAccepted, "")
	}
	h.want(h.read(h.g), http.StatusOK, "")

	// A reload, and what it puts in force or keeps.
	next := "the-next-secret-of-callers-in-these-tests"
	began := time.Now()
	if !row.keeps {
		harness.Replace(h.t, h.file("secrets"), callerSecret+"\n"+next)
	}
	require.NoError(h.t, syscall.Kill(h.g.pid, syscall.SIGHUP))
	if row.keeps {
		h.g.awaitMetric("bus_vm_reload_success", zero)
		assert.NotNil(h.t, h.g.awaitLog(regexp.MustCompile("reload failed")), h.g.log) // the log comes after
	} else {
		rolled := newCall(h.g, status)
		rolled.token = platform.CallerToken(next, rolled.account, "vm:read")
		require.True(h.t, eventually(func() bool { return rolled.send().status == http.StatusOK }), rolled)
	}
	h.inTime(time.Since(began), 2*time.Second, "the reload")
	h.want(h.read(h.g), http.StatusOK, "")

	assert.Equal(h.t, http.StatusOK, h.g.get("/livez").status)
	if row.unwritable {
		require.True(h.t, eventually(func() bool { return h.g.ready() == http.StatusServiceUnavailable }))
	} else {
		assert.Equal(h.t, http.StatusOK, h.g.ready())
		writes, answered := h.underWay(h.g, 1, platform.Behaviour{})
		defer func() {
			answered.Wait()
			h.want(writes[0], http.StatusServiceUnavailable, unavailable)
		}()
	}
	h.stops()
	if row.unwritable {
		h.g.wantLog("operations store")
	}
}

// stops wants SIGTERM to end the process in time.
func (h *hangs) stops() {
	h.t.Helper()
	began := time.Now()
	h.g.interrupt()
	select {
	case <-h.g.ended:
	case <-time.After(hangLimit + busy):
		h.t.Logf("its threads:%s", h.threads())
	}
	h.g.wait()
	h.inTime(time.Since(began), hangLimit, "the stop")
	assert.GreaterOrEqual(h.t, h.ends(), 0, "ended by a signal")
}

// inTime says how long something took, and fails where no busy machine explains it.
func (h *hangs) inTime(took, promised time.Duration, what string) {
	h.t.Helper()
	h.t.Logf("%s took %s (%s are promised)", what, took.Round(time.Millisecond), promised)
	assert.Less(h.t, took, promised+busy, what)
}

// ends waits for the exit code, and for the last lines of the log.
func (h *hangs) ends() (code int) {
	h.t.Helper()
	code = h.g.wait()
	_ = h.command.Stderr.(*os.File).Close() // ours
	<-h.pumped
	return code
}
