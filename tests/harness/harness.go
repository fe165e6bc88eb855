// Package harness is what the suites share that run programs and watch them from
// outside.
package harness

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// WaitLimit bounds every wait for another process. It is long because machines
// are slow at times; nothing that is well waits for all of it.
const WaitLimit = time.Minute

// PollEvery is how often that is looked at which nothing signals.
const PollEvery = 5 * time.Millisecond

// Holds polls until ok; false means that WaitLimit ended first. It is for what nothing
// signals: the inside of another process.
func Holds(ok func() bool) bool {
	deadline := time.NewTimer(WaitLimit)
	defer deadline.Stop()
	tick := time.NewTicker(PollEvery)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			return false
		case <-tick.C:
		}
	}
	return true
}

// Eventually fails the test with what is shown unless ok Holds.
func Eventually(t testing.TB, what string, ok func() bool, shown ...any) {
	t.Helper()
	if !Holds(ok) {
		t.Fatalf("after %s still not: %s %s", WaitLimit, what, shown)
	}
}

// Every calls do again and again, with a pause in between, until ctx ends.
func Every(ctx context.Context, pause time.Duration, do func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		do()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Next waits for a value of c.
func Next[T any](t testing.TB, c <-chan T) (value T) {
	t.Helper()
	select {
	case value = <-c:
	case <-time.After(WaitLimit):
		t.Fatal("nothing came in time")
	}
	return value
}

// Number is that of a variable of the environment, or another one without it.
func Number(t testing.TB, variable string, otherwise int) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv(variable), strconv.Itoa(otherwise)))
	require.NoError(t, err, variable)
	return n
}

// moduleRoot is where `go build` finds the program, for tests two directories below it.
const moduleRoot = "../.."

// Sources reads every directory of the module, so that `go test` knows them as inputs of
// the test: it sees what a test opens, but not what a compiler does for it in a child,
// and would show a cached result of another binary.
var Sources = sync.OnceValue(func() error {
	return filepath.WalkDir(moduleRoot, func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another test's, and gone again
		}
		if err == nil && entry.IsDir() && entry.Name() == ".git" {
			return filepath.SkipDir
		}
		return err
	})
})

// Build compiles the main package in directory, and declares the Sources.
func Build(directory, binary string, flags ...string) error {
	if err := Sources(); err != nil {
		return err
	}
	command := exec.Command("go", slices.Concat([]string{"build", "-o", binary}, flags, []string{"."})...)
	command.Dir = directory
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s in %s: %w\n%s", command, directory, err, output)
	}
	return nil
}

// File returns the path of a new file with text, in a directory of its own.
func File(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// Replace puts a file in the place of another, the way careful editors do.
func Replace(t testing.TB, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

// Golden compares got with a file, or writes it there. The package is that whose tests
// write it.
func Golden(t testing.TB, path, got string, update bool, pkg string) {
	t.Helper()
	if update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	is, wanted := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(is), len(wanted)) {
		if i >= len(is) || i >= len(wanted) || is[i] != wanted[i] {
			t.Fatalf("%s is stale from line %d on, where the code says now:\n%s\nrun: go test %s -update", path, i+1,
				strings.Join(is[min(i, len(is)):min(i+3, len(is))], "\n"), pkg)
		}
	}
}

// Needs skips a test on a machine without a program, so that `go test ./...`
// passes with nothing but Go. With CI=true, where it counts, it fails.
func Needs(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		require.Empty(t, os.Getenv("CI"), "CI is set and %s is not in PATH; install it", program)
		t.Skip(err)
	}
}

// Output collects what a process writes, and is readable while it runs.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// tokenLike is two parts of a token joined by a dot, or the beginning of one, from any
// issuer. Nothing else in a log has two such words.
var tokenLike = regexp.MustCompile(`\b[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}\b|\beyJ[A-Za-z0-9_-]{8,}`)

// Leaks says what stands in a log and must not, without repeating it: secrets, tokens,
// which are told by their looks, and what bugs leave.
func Leaks(log string, secrets ...string) (found []string) {
	for i, secret := range secrets {
		if before, _, there := strings.Cut(log, secret); there {
			found = append(found, fmt.Sprintf("secret %d in: %s…", i, before[strings.LastIndexByte(before, '\n')+1:]))
		}
	}
	for line := range strings.Lines(log) {
		if line = strings.TrimSuffix(line, "\n"); tokenLike.MatchString(line) {
			found = append(found, "a token in: "+tokenLike.ReplaceAllString(line, "…"))
		} else if strings.Contains(line, "DATA RACE") || strings.Contains(line, "panic") || strings.Contains(line, "BUG:") {
			found = append(found, line)
		}
	}
	return found
}

// FreeAddress is an address of loopback that was free a moment ago, and that the kernel
// gives to no connection (ip_local_port_range): it is free again after a restart.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(22_000)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		require.NoError(t, err)
		require.NoError(t, l.Close())
		return l.Addr().String()
	}
}

// Dial connects to host:port, or to the path of a unix socket. The connection lives no
// longer than WaitLimit.
func Dial(ctx context.Context, addr string) (net.Conn, error) {
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	c, err := (&net.Dialer{Timeout: WaitLimit}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(WaitLimit))
}

// Get asks for a path on a connection of its own, with a token unless that is
// empty.
func Get(t testing.TB, addr, path, token string) (status int, body string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return Dial(ctx, addr)
	}}
	request, err := http.NewRequest(http.MethodGet, "http://localhost"+path, nil)
	require.NoError(t, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := (&http.Client{Transport: transport, Timeout: WaitLimit}).Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}

// Metric is a value in the text of a scrape; ok is false where there is none.
func Metric(text, name string) (value float64, ok bool) {
	for line := range strings.Lines(text) {
		if number, found := strings.CutPrefix(line, name+" "); found {
			value, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
			return value, err == nil
		}
	}
	return 0, false
}
