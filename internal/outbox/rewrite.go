package outbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// rewrite copies what is in the file at path to a new one that takes its
// place. So the process only ever writes to a file that it made itself, which
// has no damage that reading does not show, and the space of an outage that is
// over returns to the disk, since bbolt never shrinks a file.
func rewrite(path string) error {
	fresh := filepath.Join(filepath.Dir(path), freshName)
	err := readFile(path, func(from *bbolt.DB) error { return copyTo(fresh, from) })
	if err != nil {
		return errors.Join(err, removeIfThere(fresh))
	}
	return install(fresh, path)
}

func copyTo(path string, from *bbolt.DB) error {
	if err := removeIfThere(path); err != nil {
		return err
	}
	to, err := openFile(path)
	if err != nil {
		return fmt.Errorf("make a copy: %w", err)
	}
	to.NoSync = true // until the end
	return errors.Join(bbolt.Compact(to, from, copyBytes), to.Sync(), to.Close())
}

// install renames a file and makes the new name survive a power loss.
func install(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
