package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// modules are the libraries whose versions the report names.
var modules = []string{
	"github.com/gofiber/fiber/v2", "github.com/valyala/fasthttp",
	"github.com/gofiber/contrib/jwt", "github.com/golang-jwt/jwt/v5",
}

// describeMachine says what the figures were measured on, a line each.
func describeMachine(ctx context.Context) []string {
	var system unix.Utsname
	check(unix.Uname(&system))
	memory := procField("/proc/meminfo", "MemTotal")
	model := procField("/proc/cpuinfo", "model name")
	list := append([]string{"list", "-m", "-f", "{{.Path}} {{.Version}}"}, modules...)
	versions := must(exec.CommandContext(ctx, "go", list...).Output())
	return []string{
		time.Now().UTC().Format("2006-01-02 15:04 UTC"),
		fmt.Sprintf("%s, %d cores, %s of memory", model, runtime.NumCPU(), memory),
		fmt.Sprintf("Linux %s %s", unix.ByteSliceToString(system.Release[:]), unix.ByteSliceToString(system.Machine[:])),
		runtime.Version(),
		"revision " + revision(ctx),
		strings.Join(strings.Split(strings.TrimSpace(string(versions)), "\n"), ", "),
		firstLine(ctx, "haproxy", "-v"),
		firstLine(ctx, "nginx", "-v"),
		firstLine(ctx, "wrk", "-v"),
	}
}

// procField returns the value of the first line that begins with name.
func procField(path, name string) string {
	data := must(os.ReadFile(path))
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	check(fmt.Errorf("no %s in %s", name, path))
	return ""
}

// revision names the commit, and whether the tree differs from it.
func revision(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// firstLine is what a program says of itself; some do so on stderr, and wrk
// with an exit code of 1.
func firstLine(ctx context.Context, name string, args ...string) string {
	out, _ := exec.CommandContext(ctx, name, args...).CombinedOutput()
	line, _, _ := bytes.Cut(out, []byte("\n"))
	if len(line) == 0 {
		return name + " not installed"
	}
	text, _, _ := strings.Cut(string(line), " Copyright")
	text, _, _ = strings.Cut(text, " - http")
	return text
}
