package docs

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

const (
	root = "../.."
	name = "bus-api-provider-vm"
	// documentedAddr is where the documents serve; the tests look for a free port.
	documentedAddr = "127.0.0.1:8085"
)

// dispatcher stands in for the platform's bus.
const dispatcher = `#!/bin/sh
export BUS_EVENTS_API_URL="${BUS_EVENTS_API_URL:-http://127.0.0.1:8081/local/v1}"
export BUS_EVENTS_TOKEN_FILE="${BUS_EVENTS_TOKEN_FILE:-.bus/tokens/local-events.jwt}"
module=$1
shift
exec "bus-$module" "$@"
`

// TestBlocks runs what a checkout suffices for, in the order of the documents.
func TestBlocks(t *testing.T) {
	blocks, err := Find(root)
	require.NoError(t, err)
	require.NotEmpty(t, blocks)
	shell := newShell(t)
	for _, block := range blocks {
		switch {
		case block.How == "":
			t.Logf("%s is not tested", block)
		case block.How == "machine", strings.HasPrefix(block.How, "machine, "): // tests/ship
		case strings.HasPrefix(block.How, "by "):
			_, err := os.Stat(filepath.Join(root, strings.TrimPrefix(block.How, "by ")))
			require.NoError(t, err, block.String())
		case block.How == "checkout":
			for _, command := range block.Commands {
				printed := shell.run(t, root, block.String(), command.Text)
				require.True(t, command.Matches(printed), "%s: %s\nprinted %s", block, command.Text, printed)
			}
		case block.How == "checkout, serving":
			shell.serve(t, block)
		case block.How == "settings":
			for _, command := range block.Commands {
				require.Equal(t, "configuration ok\n", shell.run(t, settingsDirectory(t), block.String(), command.Text+" --check-config"))
			}
		default:
			t.Errorf("%s: no test runs blocks %q", block, block.How)
		}
	}
}

// shell runs commands one after the other, with what earlier ones set.
type shell struct {
	environment []string
	addr        string
}

func newShell(t *testing.T) *shell {
	t.Helper()
	binaries := t.TempDir()
	require.NoError(t, harness.Build(root, filepath.Join(binaries, name)))
	require.NoError(t, os.WriteFile(filepath.Join(binaries, "bus"), []byte(dispatcher), 0o755))
	addr := harness.FreeAddress(t)
	return &shell{append(os.Environ(), "PATH="+binaries+":"+os.Getenv("PATH"), "BUS_VM_ADDR="+addr), addr}
}

func (s *shell) command(directory, text string) *exec.Cmd {
	command := exec.Command("bash", "-euo", "pipefail", "-c", strings.ReplaceAll(text, documentedAddr, s.addr))
	command.Env, command.Dir = s.environment, directory
	return command
}

// run runs a command that has to succeed and returns what it prints.
func (s *shell) run(t *testing.T, directory, where, text string) string {
	t.Helper()
	command := s.command(directory, text)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	require.NoError(t, command.Run(), "%s: %s\n%s%s", where, text, &stdout, &stderr)
	return stdout.String()
}

var assignment = regexp.MustCompile(`(?m)^[A-Z]+=\S+$`)

// serve starts a service that runs until the test ends, and takes over what it
// prints for the next terminal.
func (s *shell) serve(t *testing.T, block Block) {
	t.Helper()
	command := s.command(root, block.Commands[0].Text)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // go run has a child
	stdout, stderr := &harness.Output{}, &harness.Output{}
	command.Stdout, command.Stderr = stdout, stderr
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		require.NoError(t, syscall.Kill(-command.Process.Pid, syscall.SIGTERM))
		_ = command.Wait()
	})
	harness.Eventually(t, block.String()+" prints NAME=value", func() bool { return assignment.MatchString(stdout.String()) }, stderr)
	s.environment = append(s.environment, assignment.FindString(stdout.String()))
}

// settingsDirectory has the files that the examples of settings name.
func settingsDirectory(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(directory, "local"), 0o700))
	for file, text := range map[string]string{
		"vm-provider.token": "a token",
		"jwt.secret":        strings.Repeat("secret ", 8),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(directory, "local", file), fmt.Appendln(nil, text), 0o600))
	}
	return directory
}
