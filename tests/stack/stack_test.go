// Package stack tests the script that shows the gateway in events mode at work.
package stack

import (
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// script is a walk of seconds on free ports. Without nginx it goes to the gateway
// itself; with CI=true that is a failure.
func script(t *testing.T, more ...string) (command *exec.Cmd, shown *harness.Output, addrs []string) {
	t.Helper()
	require.NoError(t, harness.Sources())
	if _, err := exec.LookPath("nginx"); err != nil {
		require.Empty(t, os.Getenv("CI"), "CI is set, and there is no nginx")
		more = append(more, "-no-nginx")
	}
	args := append([]string{"-start-time", "300ms", "-stop-time", "300ms"}, more...)
	for _, flag := range []string{"-addr", "-gateway-addr", "-events-addr"} {
		addr := harness.FreeAddress(t)
		addrs, args = append(addrs, addr), append(args, flag, addr)
	}
	command, shown = exec.Command("./stack", args...), &harness.Output{}
	command.Stdout, command.Stderr = shown, shown
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return command, shown, addrs
}

var filesLine = regexp.MustCompile(`(?m)^files +(\S+)$`)

// nothingLeft wants no file and no listener of a stack any more.
func nothingLeft(t *testing.T, shown string, addrs []string) {
	t.Helper()
	dir := filesLine.FindStringSubmatch(shown)
	require.NotNil(t, dir, shown)
	require.NoDirExists(t, dir[1])
	for _, addr := range addrs {
		_, err := net.Dial("tcp", addr)
		require.ErrorIs(t, err, syscall.ECONNREFUSED, addr)
	}
}

// Help is the flags, each with what it is for, and no failure.
func TestHelp(t *testing.T) {
	for flag, code := range map[string]int{"-help": 0, "-h": 0, "-unknown": 2} {
		command := exec.Command("./stack", flag)
		shown, _ := command.CombinedOutput()
		require.Equal(t, code, command.ProcessState.ExitCode(), "%s", shown)
		require.Regexp(t, `^(-[a-z-]+( (TIME|ADDR))? +[a-z].*\n){7}$`, string(shown))
	}
}

// The walk shows what docs/events-mode.md says it does.
func TestWalk(t *testing.T) {
	command, shown, addrs := script(t, "-once")
	require.NoError(t, command.Run(), shown)
	text := shown.String()
	for _, want := range []string{
		"\n{\"ok\":true}\n200\n", `{"status":{"state":"stopped","provider":"example"}}`,
		`{"accepted":true,"action":"start","status":{"state":"ready","provider":"example"}}`, "{\"accepted\":true,\"action\":\"stop\"}\n202\n",
		`"command":"bus billing setup"`, "\n402\n",
		"runtime_start_requested", "runtime_start_finished", "runtime_stop_requested", "runtime_stop_finished",
	} {
		require.Contains(t, text, want)
	}
	page, err := os.ReadFile("../../docs/events-mode.md")
	require.NoError(t, err)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "# ") {
			require.Contains(t, string(page), "\n"+line, "docs/events-mode.md shows an older walk")
		}
	}
	nothingLeft(t, text, addrs)
}

// Ctrl-C reaches the whole process group at once; the script ends all in order.
func TestCtrlC(t *testing.T) {
	command, shown, addrs := script(t)
	require.NoError(t, command.Start())
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	require.Eventually(t, func() bool { return strings.Contains(shown.String(), "Ctrl-C ends it") || len(ended) > 0 }, time.Minute, 10*time.Millisecond)
	require.Empty(t, ended, shown)
	require.NoError(t, syscall.Kill(-command.Process.Pid, syscall.SIGINT))
	require.NoError(t, <-ended, shown)
	nothingLeft(t, shown.String(), addrs)
}
