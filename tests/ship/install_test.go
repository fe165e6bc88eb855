//go:build ship

package ship

import (
	"path/filepath"
	"regexp"
	"testing"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/stretchr/testify/require"
)

const debInMachine = "/root/" + name + ".deb"

// newerVersion is the package again under a later version.
func newerVersion(t testing.TB) string {
	t.Helper()
	work := t.TempDir()
	tree := filepath.Join(work, "tree")
	output(t, "dpkg-deb", "-R", packaged(t), tree)
	output(t, "sed", "-i", "s/^Version: /&9999./", filepath.Join(tree, "DEBIAN", "control"))
	deb := filepath.Join(work, "newer.deb")
	output(t, "dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, deb)
	return deb
}

// A life of the package where no systemd runs, such as in an image: installed,
// run, upgraded with changed settings, removed, installed again, purged.
func TestPackageWithoutSystemd(t *testing.T) {
	m := newMachine(t)
	m.put(t, packaged(t), debInMachine)
	m.put(t, newerVersion(t), "/root/newer.deb")

	m.must(t, "dpkg -i "+debInMachine)
	require.Equal(t, "configuration ok\n", m.must(t, "BUS_VM_JWT_SECRET='"+secret+"' "+name+" --config /etc/"+name+"/config.yaml --check-config"))
	require.Contains(t, m.must(t, name+" --version"), name)
	commandsOfTheSettings(t, m)
	// It runs as it is, without anything from the machine but its settings.
	m.must(t, "BUS_VM_JWT_SECRET='"+secret+"' "+name+" --config /etc/"+name+"/config.yaml --addr unix:/tmp/api.sock >/tmp/log 2>&1 &")
	harness.Eventually(t, "serving", func() bool { return m.try(t, "grep -q msg=serving /tmp/log").code == 0 })
	m.must(t, "kill $(pidof "+name+")")
	harness.Eventually(t, "its end", func() bool { return m.try(t, "pidof "+name).code != 0 })
	require.NotContains(t, m.must(t, "cat /tmp/log"), "level=ERROR")

	// An upgrade keeps what the operator changed, and secrets.
	m.must(t, "echo 'log: {level: debug}' >>/etc/"+name+"/config.yaml && echo x >/etc/"+name+"/jwt-secret")
	m.must(t, "dpkg --force-confdef --force-confold -i /root/newer.deb")
	require.Contains(t, m.must(t, "dpkg-query -W "+name), "\t9999.")
	require.Contains(t, m.must(t, "tail -1 /etc/"+name+"/config.yaml"), "log: {level: debug}")

	m.must(t, "dpkg -r "+name)
	require.False(t, m.has("usr/bin/"+name))
	require.False(t, m.has("usr/lib/systemd/system/"+name+".service"))
	require.True(t, m.has("etc/"+name+"/jwt-secret"), "only purging takes secrets away")

	m.must(t, "dpkg -i "+debInMachine)
	m.must(t, "dpkg -P "+name)
	left := m.must(t, "find / -xdev -name '*"+name+"*' ! -path '/root/*' ! -path '/var/log/*'")
	require.Empty(t, left)
}

// commandsOfTheSettings runs what a comment of config.yaml tells to run, as it is
// written: without a secret, with one as root, and as another user, such as that
// of the service. Where it fails, it says what helps.
func commandsOfTheSettings(t *testing.T, m *machine) {
	t.Helper()
	commands := regexp.MustCompile(`(?m)^#   (`+name+` .*)$`).FindAllStringSubmatch(m.must(t, "cat /etc/"+name+"/config.yaml"), -1)
	require.Len(t, commands, 2)
	secretFile := "/etc/" + name + "/jwt-secret"
	for _, command := range commands {
		got := m.try(t, command[1])
		require.Equal(t, 2, got.code, got)
		require.Contains(t, got.stderr, "or write "+secretFile)
	}
	m.must(t, "(umask 077 && echo '"+secret+"' >"+secretFile+")")
	for _, command := range commands {
		require.Contains(t, m.must(t, command[1]+" 2>&1"), "found /etc/"+name+"/config.yaml, "+secretFile)
		for mode, refusal := range map[string]string{"644": "the file cannot be read", "600": `"/etc/` + name + `/config.yaml"`} {
			m.must(t, "chmod "+mode+" /etc/"+name+"/config.yaml")
			got := m.try(t, "setpriv --reuid=nobody --regid=nogroup --clear-groups "+command[1])
			require.Equal(t, 2, got.code, got)
			require.Contains(t, got.stderr, "(found in /etc/"+name+"): "+refusal+": permission denied; ")
			require.Contains(t, got.stderr, "; run this as root, or as another user who may read the file; systemd hands it to a service by LoadCredential=\n")
		}
	}
	m.must(t, "chmod 644 /etc/"+name+"/config.yaml")
	m.must(t, "rm "+secretFile)
}

// The same with systemd: nothing starts by itself, an upgrade restarts what
// runs, and a removal ends it and leaves no link to its units.
func TestPackageWithSystemd(t *testing.T) {
	m := withSystemctl(t)
	m.put(t, packaged(t), debInMachine)
	m.put(t, newerVersion(t), "/root/newer.deb")
	process := func() string { return m.try(t, "pidof "+name).stdout }

	m.must(t, "dpkg -i "+debInMachine)
	require.Empty(t, process(), "there is no secret yet")
	m.must(t, "dpkg -i /root/newer.deb")
	require.Empty(t, process(), "an upgrade starts nothing")
	m.must(t, "(umask 077 && echo '"+secret+"' >/etc/"+name+"/jwt-secret) && systemctl enable --now "+name+".socket "+name+".service")
	first := process()
	require.NotEmpty(t, first)
	m.must(t, "dpkg -i /root/newer.deb")
	require.NotEmpty(t, process())
	require.NotEqual(t, first, process(), "an upgrade restarts what runs")

	m.must(t, "dpkg -r "+name)
	require.Empty(t, process())
	require.Contains(t, m.must(t, "cat /var/log/systemctl"), "disable --now "+name+".socket "+name+".service\n")
	require.True(t, m.has("var/lib/"+name))
	m.must(t, "dpkg -P "+name)
	require.False(t, m.has("var/lib/"+name))
	require.False(t, m.has("etc/"+name))
}
