//go:build ship

package ship

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/docs"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// tenMinutes is what a newcomer has from nothing to a rolled key. A person reads
// and types as well, so the machine may take a small part of it.
const (
	tenMinutes   = 10 * time.Minute
	machinesPart = tenMinutes / 4
)

// TestTenMinutes goes from a machine with nothing installed to a gateway behind
// nginx with metrics, with the commands of the README and no others, and on through
// the other documents for that machine.
func TestTenMinutes(t *testing.T) {
	m := withSystemctl(t)
	deb := filepath.Base(packaged(t))
	m.put(t, packaged(t), filepath.Join("root", deb))
	m.must(t, "mkdir old new")
	m.put(t, packaged(t), filepath.Join("root/old", deb))
	m.put(t, newerVersion(t), "root/new/"+name+"_9999_all.deb")
	ran := m.walk(t, "machine", "README.md", "nginx", "curl")
	require.NotZero(t, ran["docs/upgrade.md"])
}

// TestTenMinutesWithTheBinary is the same without the package.
func TestTenMinutesWithTheBinary(t *testing.T) {
	m := withSystemctl(t)
	m.must(t, "mkdir new")
	m.put(t, inRoot(t, "deploy/nginx/bus-vm.conf"), "root")
	m.put(t, built(t), "root")
	m.put(t, built(t), "root/new")
	ran := m.walk(t, "machine, binary", "docs/install.md", "nginx", "curl")
	require.NotZero(t, ran["docs/upgrade.md"])
}

// TestTenMinutesToTheRealMachine goes on from the package to events mode and a second
// replica. An Events API with workers behind it stands in for the platform.
func TestTenMinutesToTheRealMachine(t *testing.T) {
	m := withSystemctl(t)
	m.put(t, packaged(t), "root")
	stack := exec.Command("go", "build", "-o", m.path("opt/busstack"), "./tests/platform/cmd/busstack")
	stack.Dir, stack.Env = moduleRoot, append(os.Environ(), "CGO_ENABLED=0")
	said, err := stack.CombinedOutput()
	require.NoError(t, err, "%s", said)
	m.must(t, "/opt/busstack -provider example -start-time 500ms -stop-time 500ms -token-file /root/provider.token >/var/log/busstack 2>&1 &")
	harness.Eventually(t, "a token", func() bool { return m.has("root/provider.token") })
	m.walk(t, "machine, events", "docs/package.md", "nginx", "curl", "postgresql")
	require.NotContains(t, m.must(t, "cat /var/log/"+name+" /root/replica.log"), "level=ERROR")

	// Without its drop-in the service may not read the token, and says what helps.
	m.must(t, "rm /etc/systemd/system/"+name+".service.d/events.conf")
	require.NotZero(t, m.try(t, "systemctl restart "+name).code)
	require.Regexp(t, `events\.token_file \(found in /etc/`+name+`\): .*permission denied; .*LoadCredential=\n`, m.must(t, "cat /var/log/"+name))
}

// walk runs the blocks of the documents that are tested in one way, with packages
// at hand. Those of main have ten minutes. It returns how many commands of each
// document it ran.
func (m *machine) walk(t *testing.T, how, main string, packages ...string) (ran map[string]int) {
	blocks, err := docs.Find(moduleRoot)
	require.NoError(t, err)
	m.fetch(t, packages...)
	began := time.Now()
	var s *shell
	ran = map[string]int{}
	for _, block := range blocks {
		if block.How != how {
			continue
		}
		if ran[block.File] == 0 { // who reads a document begins in a new terminal
			s = m.shell(t)
		}
		for _, command := range block.Commands {
			s.expect(t, block.String(), command)
			ran[block.File]++
		}
		if block.File == main {
			require.Less(t, time.Since(began), machinesPart)
		}
	}
	t.Logf("%v commands in %s", ran, time.Since(began).Round(time.Second))
	require.GreaterOrEqual(t, ran[main], 4)
	return ran
}

// expect runs a command until it prints what the document shows. Only a question
// is asked twice: what was begun before it may take a moment.
func (s *shell) expect(t *testing.T, where string, command docs.Command) {
	t.Helper()
	printed := s.run(t, where, command.Text)
	if strings.HasPrefix(command.Text, "curl ") && !command.Matches(printed) {
		harness.Eventually(t, fmt.Sprintf("%s: %s\nprinted %s", where, command.Text, printed), func() bool {
			return command.Matches(s.run(t, where, command.Text))
		})
		return
	}
	require.True(t, command.Matches(printed), "%s: %s\nprinted %s", where, command.Text, printed)
}

// fetch brings packages of Debian to the machine, as its own network would.
func (m *machine) fetch(t testing.TB, packages ...string) {
	t.Helper()
	output(t, "cp", "/etc/resolv.conf", m.path("etc/resolv.conf"))
	got := m.enter(t, "apt-get update -qq && apt-get install -y -qq --download-only "+strings.Join(packages, " "))
	require.Zero(t, got.code, "%s%s", got.stdout, got.stderr)
}

// shell is a shell on a machine, which ends at the first failure.
type shell struct {
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr *harness.Output
	count  int
}

func (m *machine) shell(t testing.TB) *shell {
	t.Helper()
	s := &shell{stderr: &harness.Output{}}
	command := m.bash([]string{"--net"}, "-euo", "pipefail")
	stdin, err := command.StdinPipe()
	require.NoError(t, err)
	stdout, err := command.StdoutPipe()
	require.NoError(t, err)
	s.stdin, s.stdout = stdin, bufio.NewReader(stdout)
	command.Stderr = s.stderr
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
	end := fmt.Sprintf("-- end of command %d with ", s.count)
	_, err := fmt.Fprintf(s.stdin, "%s\nprintf '\\n%%s\\n' \"%s$?\"\n", text, end)
	require.NoError(t, err)
	var printed strings.Builder
	for {
		line, err := s.stdout.ReadString('\n')
		require.NoError(t, err, "%s: %s\n%s%s", where, text, printed.String(), s.stderr)
		if code, ended := strings.CutPrefix(line, end); ended {
			require.Equal(t, "0\n", code, "%s: %s\n%s%s", where, text, printed.String(), s.stderr)
			return strings.TrimSuffix(printed.String(), "\n")
		}
		printed.WriteString(line)
	}
}
