package unit

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func write(t *testing.T, directory, name, text string) {
	t.Helper()
	path := filepath.Join(directory, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func TestUnitWithItsDropIns(t *testing.T) {
	etc, lib := t.TempDir(), t.TempDir()
	write(t, lib, "a.service", "# a comment\n[Unit]\nAfter=x\n[Service]\nType=notify\nType = simple\n; another\nFilter=@a\nFilter=@b @c\n")
	write(t, lib, "a.service.d/20.conf", "[Service]\nType=forking\n")
	write(t, etc, "a.service.d/10.conf", "[Service]\nFilter=\nFilter=@d\n")
	write(t, etc, "a.service.d/20.conf", "[Service]\nType=oneshot\n")
	got, err := Find("a.service", etc, lib)
	require.NoError(t, err)
	require.Equal(t, File{
		"Unit.After":     {"x"},
		"Service.Type":   {"notify", "simple", "oneshot"},
		"Service.Filter": {"@d"},
	}, got)
	require.Equal(t, "oneshot", got.One("Service.Type"))
	require.Equal(t, "", got.One("Service.Other"))

	got, err = Read(filepath.Join(lib, "a.service"))
	require.NoError(t, err)
	require.Equal(t, []string{"@a", "@b", "@c"}, got.Words("Service.Filter"))
}

func TestWhatIsNoUnit(t *testing.T) {
	directory := t.TempDir()
	write(t, directory, "a.service", "Type=notify\n")
	write(t, directory, "b.service", "[Service]\nType\n")
	for _, name := range []string{"a.service", "b.service", "c.service"} {
		_, err := Find(name, directory)
		require.Error(t, err, name)
	}
}
