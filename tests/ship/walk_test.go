//go:build ship

package ship

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/docs"
)

// tenMinutes is what a newcomer has from nothing to a rolled key. A person reads
// and types as well, so the machine may take a small part of it.
const (
	tenMinutes   = 10 * time.Minute
	machinesPart = tenMinutes / 4
)

// TestTenMinutes goes from a machine with nothing installed to a gateway behind
// nginx with metrics and a rolled key, with the commands of the README and no
// others, and on through the other documents for that machine.
func TestTenMinutes(t *testing.T) {
	m := newMachine(t)
	m.startSystemctl(t)
	m.put(t, packaged(t), filepath.Join("root", filepath.Base(packaged(t))))
	blocks, err := docs.Find(moduleRoot)
	require.NoError(t, err)

	began := time.Now()
	m.fetch(t, "nginx", "curl")
	s := m.shell(t)
	readme, commands := 0, 0
	for _, block := range blocks {
		if block.How != "machine" {
			continue
		}
		if block.File == "README.md" {
			readme++
		} else if took := time.Since(began); readme > 0 && commands > 0 {
			require.Less(t, took, machinesPart)
			t.Logf("the README's %d blocks, %d commands, took %s", readme, commands, took.Round(time.Second))
			commands = 0
		}
		for _, command := range block.Commands {
			commands++
			printed := s.run(t, block.String(), command.Text)
			require.True(t, command.Matches(printed), "%s: %s\nprinted %s", block, command.Text, printed)
		}
	}
	require.GreaterOrEqual(t, readme, 3)
}

// fetch brings packages of Debian to the machine, as its own network would.
func (m *machine) fetch(t testing.TB, packages ...string) {
	t.Helper()
	got := m.online(t, "apt-get update -qq && apt-get install -y -qq --download-only "+strings.Join(packages, " "))
	require.Zero(t, got.code, "%s%s", got.stdout, got.stderr)
}

// shell is a shell on a machine, which ends at the first failure.
type shell struct {
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr *logged
	count  int
}

func (m *machine) shell(t testing.TB) *shell {
	t.Helper()
	s := &shell{stderr: &logged{}}
	command := exec.Command("nsenter", "--target", m.id, "--mount", "--pid", "--net", "chroot", m.root, "bash", "-euo", "pipefail")
	command.Env = environment
	var err error
	s.stdin, err = command.StdinPipe()
	require.NoError(t, err)
	stdout, err := command.StdoutPipe()
	require.NoError(t, err)
	s.stdout = bufio.NewReader(stdout)
	command.Stderr = s.stderr
	command.WaitDelay = patience
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = s.stdin.Close()
		_ = command.Wait() // what it was asked has been answered
	})
	s.run(t, "the shell", "cd /root")
	return s
}

// run runs a command that has to succeed, and returns what it prints.
func (s *shell) run(t testing.TB, where, text string) string {
	t.Helper()
	s.count++
	end := "-- end of command " + strconv.Itoa(s.count) + "\n"
	_, err := fmt.Fprintf(s.stdin, "%s\nprintf '\\n%%s\\n' '%s'\n", text, strings.TrimSpace(end))
	require.NoError(t, err)
	var printed strings.Builder
	for {
		line, err := s.stdout.ReadString('\n')
		require.NoError(t, err, "%s: %s\n%s%s", where, text, printed.String(), s.stderr)
		if line == end {
			return strings.TrimSuffix(printed.String(), "\n")
		}
		printed.WriteString(line)
	}
}
