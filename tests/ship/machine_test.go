//go:build ship

package ship

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/stretchr/testify/require"
)

// machine is a bare Debian in a directory, with a network of its own that knows
// loopback only, and its own processes, which all end with it. Its mounts are
// its own.
type machine struct {
	root string
	id   string // of the process in whose namespaces everything runs
}

// bare is the archive of a Debian with nothing but its essential packages and
// apt, and what to trust.
var bare = sync.OnceValues(func() (string, error) {
	archive := filepath.Join(harness.Directory(), "bare.tar")
	command := exec.Command("mmdebstrap", "--quiet", "--mode=root", "--variant=apt", "--include=ca-certificates",
		"--aptopt=Acquire::Languages none", "--skip=cleanup/apt/lists", "bookworm", archive)
	command.Env = append(os.Environ(), "TMPDIR="+harness.Directory())
	said, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("mmdebstrap: %w\n%s", err, said)
	}
	return archive, nil
})

// newMachine unpacks a machine and starts it.
func newMachine(t testing.TB) *machine {
	t.Helper()
	archive, err := bare()
	require.NoError(t, err)
	m := &machine{}
	m.root, err = os.MkdirTemp(harness.Directory(), "machine-")
	require.NoError(t, err)
	output(t, "tar", "-xpf", archive, "-C", m.root)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(m.root)) })

	// Private first: nothing that is mounted here may show outside.
	begin := `mount --make-rprivate / && mount -t proc proc "$0/proc" && mount -t tmpfs tmpfs "$0/run" &&
		mount -t tmpfs tmpfs "$0/tmp" && ip link set lo up && echo up && exec sleep infinity`
	holder := exec.Command("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child=SIGKILL", "sh", "-c", begin, m.root)
	said, stderr := &harness.Output{}, &harness.Output{}
	holder.Stdout, holder.Stderr = said, stderr
	require.NoError(t, holder.Start())
	t.Cleanup(func() {
		_ = holder.Process.Kill()
		_ = holder.Wait()
	})
	harness.Eventually(t, "a machine", func() bool { return said.String() == "up\n" }, stderr)
	m.id = strconv.Itoa(onlyChild(t, holder.Process.Pid).Pid)
	return m
}

// result is what a script leaves behind.
type result struct {
	code           int
	stdout, stderr string
}

// try runs a script on the machine, as root at home.
func (m *machine) try(t testing.TB, script string) result {
	t.Helper()
	return m.enter(t, script, "--net")
}

func (m *machine) enter(t testing.TB, script string, namespaces ...string) result {
	t.Helper()
	command := m.bash(namespaces, "-c", "cd /root && "+script)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := command.Run(); err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return result{command.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// bash is a shell on the machine, in its processes and further namespaces.
func (m *machine) bash(namespaces []string, args ...string) *exec.Cmd {
	args = slices.Concat([]string{"--target", m.id, "--root", "--mount", "--pid"}, namespaces, []string{"chroot", m.root, "bash"}, args)
	command := exec.Command("nsenter", args...)
	command.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
	}
	command.WaitDelay = harness.WaitLimit // a script that leaves something behind must redirect it
	return command
}

// must runs a script that has to succeed, and returns what it printed.
func (m *machine) must(t testing.TB, script string) string {
	t.Helper()
	got := m.try(t, "set -e; "+script)
	require.Zero(t, got.code, "%s\n%s%s", script, got.stdout, got.stderr)
	return got.stdout
}

func (m *machine) path(name string) string { return filepath.Join(m.root, name) }

// has reports whether the machine has a file, for outside /run and /tmp.
func (m *machine) has(name string) bool {
	_, err := os.Lstat(m.path(name))
	return err == nil
}

// put copies a file to a place on the machine.
func (m *machine) put(t testing.TB, source, place string) {
	t.Helper()
	output(t, "cp", source, m.path(place))
}

// systemctl takes the place of systemd's: it writes down what it is asked, and
// starts and stops the service by the command of its unit, as a user who can read
// no secrets but those that the unit and its drop-ins name. Other services it
// leaves to /etc/init.d. How the service works with a real systemd is shown by
// tests/e2e (readiness, reload, watchdog, sockets) and systemd-analyze.
const systemctl = `#!/bin/bash
exec 3>&- 4>&- 5>&- # else debconf waits for what is started here
name=bus-api-provider-vm
[ "${0##*/}" != journalctl ] || exec cat /var/log/$name
echo "$*" >>/var/log/systemctl
verb= unit=
for word; do [[ $word == -* ]] || if [ -z "$verb" ]; then verb=$word; else unit=${word%%.*}; fi; done
runs() { [ -s /run/$name.pid ] && [[ " $(pidof $name) " == *" $(cat /run/$name.pid) "* ]]; }
stop() { ! runs || { kill $(cat /run/$name.pid) && while runs; do sleep 0.1; done; }; }
start() {
    units=/usr/lib/systemd/system/$name.service state=/var/lib/$name credentials=/run/credentials/$name
    [ ! -d /etc/systemd/system/$name.service.d ] || units+=' '$(echo /etc/systemd/system/$name.service.d/*.conf)
    rm -rf $credentials && mkdir -p $state $credentials || return
    for credential in $(sed -n 's/^LoadCredential=//p' $units); do
        cp "${credential#*:}" "$credentials/${credential%%:*}" || return
    done
    chown -R nobody: $state $credentials && chmod 700 $state $credentials
    CREDENTIALS_DIRECTORY=$credentials STATE_DIRECTORY=$state setpriv --reuid=nobody --regid=nogroup --clear-groups \
        $(sed -n 's/^ExecStart=//p' $units) >>/var/log/$name 2>&1 &
    echo $! >/run/$name.pid
    listens 8085
}
listens() {
    for try in {1..100}; do ! (exec 3<>/dev/tcp/127.0.0.1/$1) 2>/dev/null || return 0; sleep 0.1; done
    return 1
}
case $unit:$verb in
$name:enable | $name:start) runs || start ;;
$name:restart) stop && start ;;
$name:try-restart) ! runs || { stop && start; } ;;
$name:disable | $name:stop) stop ;;
$name:is-active) runs && echo active ;;
postgresql@*:*start | postgresql@*:stop) cluster=${unit#*@} && pg_ctlcluster --skip-systemctl-redirect "${cluster%-*}" "${cluster#*-}" "$verb" >/dev/null 2>&1 ;;
?*:start | ?*:restart | ?*:reload)
    "/etc/init.d/$unit" "$verb" >/dev/null 2>&1 || exit
    [ "$unit" != nginx ] || [ ! -e /etc/nginx/conf.d/bus-vm.conf ] || listens 8080 ;; # it opens its sockets after a reload
*:is-enabled) echo enabled ;;
esac
`

// withSystemctl is a machine with that.
func withSystemctl(t testing.TB) *machine {
	t.Helper()
	m := newMachine(t)
	require.NoError(t, os.WriteFile(m.path("usr/bin/systemctl"), []byte(systemctl), 0o755))
	require.NoError(t, os.Symlink("systemctl", m.path("usr/bin/journalctl")))
	// Without an init, Debian's scripts start nothing that they install.
	require.NoError(t, os.Symlink("../bin/true", m.path("usr/sbin/init")))
	m.must(t, "mkdir -p /run/systemd/system") // sd_booted(3)
	return m
}
