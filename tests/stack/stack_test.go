package main

import (
	"bytes"
	"context"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const patience = time.Minute

// quick makes a walk of seconds, away from the well-known ports. Without nginx
// it goes to the gateway itself; with CI=true that is a failure.
func quick(t *testing.T, more ...string) []string {
	t.Helper()
	args := append([]string{
		"-start-time", "300ms", "-stop-time", "300ms",
		"-addr", "127.0.0.1:0", "-gateway-addr", "127.0.0.1:0", "-events-addr", "127.0.0.1:0",
	}, more...)
	if _, err := exec.LookPath("nginx"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI is set, and there is no nginx: %v", err)
		}
		t.Logf("no nginx (%v): the walk goes to the gateway itself", err)
		args = append(args, "-no-nginx")
	}
	return args
}

// screen is what the command shows; it tells who waits for some of it.
type screen struct {
	mu      sync.Mutex
	text    bytes.Buffer
	awaited string
	shown   chan struct{}
}

func newScreen(awaited string) *screen { return &screen{awaited: awaited, shown: make(chan struct{})} }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := strings.Contains(s.text.String(), s.awaited)
	n, err := s.text.Write(p)
	if !before && strings.Contains(s.text.String(), s.awaited) {
		close(s.shown)
	}
	return n, err
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

var (
	filesLine = regexp.MustCompile(`(?m)^files +(\S+)$`)
	urls      = regexp.MustCompile(`(?m)^(?:API|Events) +(\S+)`)
)

// nothingLeft wants no file, no listener and no process of a stack any more.
func nothingLeft(t *testing.T, shown string) {
	t.Helper()
	dir := filesLine.FindStringSubmatch(shown)
	if dir == nil {
		t.Fatalf("no directory was named:\n%s", shown)
	}
	if _, err := os.Stat(dir[1]); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir[1], err)
	}
	for _, match := range urls.FindAllStringSubmatch(shown, -1) {
		u, err := url.Parse(match[1])
		if err != nil {
			t.Fatal(err)
		}
		if conn, err := net.Dial("tcp", u.Host); err == nil {
			_ = conn.Close() // it was only to see
			t.Errorf("somebody still listens on %s", u.Host)
		}
	}
	// Elsewhere than on Linux nothing matches.
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		text, _ := os.ReadFile(line) // gone by now is what is wanted
		if strings.Contains(string(text), dir[1]) {
			t.Errorf("still running: %q", text)
		}
	}
}

func TestWalk(t *testing.T) {
	shown := newScreen("nothing")
	if err := run(t.Context(), quick(t, "-once"), shown, shown); err != nil {
		t.Fatalf("%v\n%s", err, shown)
	}
	text := shown.String()
	for _, want := range []string{
		"\n{\"ok\":true}\n200\n", `{"status":{"state":"stopped","provider":"example"}}`, `"state":"ready"`,
		"{\"accepted\":true,\"action\":\"start\"}\n202\n", "{\"accepted\":true,\"action\":\"stop\"}\n202\n",
		`"command":"bus billing setup"`, "\n402\n",
		"runtime_start_requested", "runtime_start_finished", "runtime_stop_requested", "runtime_stop_finished",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q was not shown", want)
		}
	}
	page, err := os.ReadFile("../../docs/events-mode.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "# ") && !strings.Contains(string(page), "\n"+line) {
			t.Errorf("docs/events-mode.md shows an older walk: it has no %q", line)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	nothingLeft(t, text)
}

// Ctrl-C reaches the whole process group at once; the command ends all in
// order, and well.
func TestCtrlC(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "stack")
	if output, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	shown := newScreen("Ctrl-C ends it")
	command := exec.Command(binary, quick(t)...)
	command.Stdout, command.Stderr = shown, shown
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	group := -command.Process.Pid
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-shown.shown:
	case err := <-ended:
		t.Fatalf("ended: %v\n%s", err, shown)
	case <-limit.C:
		_ = syscall.Kill(group, syscall.SIGTERM) // the test fails below anyway
		t.Fatalf("%v, and nothing is invited yet\n%s", <-ended, shown)
	}
	if err := syscall.Kill(group, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("%v\n%s", err, shown)
	}
	nothingLeft(t, shown.String())
}

// A part that dies ends the rest, and its last words are the reason.
func TestPartDies(t *testing.T) {
	shown := newScreen("nothing")
	o, err := parse(quick(t), shown)
	if err != nil {
		t.Fatal(err)
	}
	s := &stack{options: o}
	if err := s.up(t.Context()); err != nil {
		t.Fatal(err, s.down())
	}
	s.introduce(shown)
	if err := s.provider.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.wait(ctx); err == nil || !strings.Contains(err.Error(), "bus-api-provider-vm ended: signal: killed") {
		t.Errorf("got %v", err)
	}
	if err := s.down(); err != nil {
		t.Error(err)
	}
	nothingLeft(t, shown.String())
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{"-once", "more"}, {"-frob"}, {"-start-time", "soon"}} {
		if err := run(t.Context(), args, newScreen("x"), newScreen("x")); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}
