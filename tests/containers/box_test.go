package containers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// box is how a process of an image is shut in.
type box struct {
	user        string // UID:GID
	environment []string
	network     *network // of this machine when nil
	mounts      []mount
	readOnly    bool
}

// mount shows a file or directory of this machine inside.
type mount struct {
	source, target string
	readOnly       bool
}

// borrowedDirectories are those of this machine that a borrowed image shows.
var borrowedDirectories = []string{"/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/dev", "/proc"}

// command is a process with the image as its root. Its mounts are seen by
// nobody else, and end with it.
func (i image) command(t testing.TB, b box, program ...string) *exec.Cmd {
	t.Helper()
	mounts := b.mounts
	if i.borrowed {
		shown := make([]mount, 0, len(borrowedDirectories)+len(mounts))
		for _, directory := range append(borrowedDirectories, goCaches(t)...) {
			if _, err := os.Stat(directory); err == nil {
				shown = append(shown, mount{source: directory, target: directory})
			}
		}
		mounts = append(shown, mounts...)
	}
	var script strings.Builder
	fmt.Fprintf(&script, "set -e\nmount --make-rprivate /\nmount --bind %q %q\n", i.root, i.root)
	for _, m := range mounts {
		inside := filepath.Join(i.root, m.target)
		i.mountPoint(t, m)
		fmt.Fprintf(&script, "mount --rbind %q %q\n", m.source, inside)
		if m.readOnly {
			fmt.Fprintf(&script, "mount -o remount,bind,ro %q\n", inside)
		}
	}
	if b.readOnly {
		fmt.Fprintf(&script, "mount -o remount,bind,ro %q\n", i.root)
	}
	fmt.Fprintf(&script, "exec env -i \"$@\"\n")

	words := append([]string{"unshare", "--mount", "sh", "-c", script.String(), "sh"}, b.environment...)
	words = append(words, "/usr/sbin/chroot", "--userspec="+b.user, "--groups=", i.root)
	words = append(words, program...)
	if b.network != nil {
		words = append([]string{"nsenter", "--net=" + b.network.path()}, words...)
	}
	return exec.Command(words[0], words[1:]...)
}

// mountPoint makes sure that there is one, as an engine does. What a borrowed
// image shows of this machine is left alone.
func (i image) mountPoint(t testing.TB, m mount) {
	t.Helper()
	inside := filepath.Join(i.root, m.target)
	if _, err := os.Stat(m.target); i.borrowed && err == nil && inBorrowed(m.target) {
		return
	}
	info, err := os.Stat(m.source)
	require.NoError(t, err)
	if info.IsDir() {
		require.NoError(t, os.MkdirAll(inside, 0o755))
		return
	}
	require.NoError(t, os.MkdirAll(filepath.Dir(inside), 0o755))
	file, err := os.OpenFile(inside, os.O_CREATE, 0o644)
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

func inBorrowed(target string) bool {
	for _, directory := range borrowedDirectories {
		if strings.HasPrefix(target, directory+"/") {
			return true
		}
	}
	return false
}

// goCaches are the directories that goEnvironment names.
func goCaches(t testing.TB) []string {
	t.Helper()
	return strings.Fields(run(t, exec.Command("go", "env", "GOROOT", "GOMODCACHE", "GOCACHE")))
}
