package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// The files of the data directory. SQLite adds -wal and -shm to the first.
const (
	fileName     = "operations.db"
	lockName     = "operations.lock"
	damagedInfix = ".damaged-" // then the time, in the names of files that were set aside
)

// ErrInUse: another process, the service perhaps, has the store.
var ErrInUse = errors.New("the data directory is in use by another process")

// errGone: what SQLite writes to is no longer where the next start looks.
var errGone = errors.New("the file of the store was removed or replaced")

// files are those of a data directory; nil for a store without one.
type files struct {
	dir  string
	lock *os.File
	seen [2]os.FileInfo // the database and its -wal, which SQLite keeps open
}

// lockDir makes the data directory and locks it for as long as the process
// lives, or until close.
func lockDir(dir string) (*files, error) {
	unusable := func(err error) error {
		return fmt.Errorf("the data directory %s cannot be used: make it writable for this user, or name another (--data-dir, BUS_VM_DATA_DIR): %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, unusable(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, unusable(err)
	}
	// A process that is just ending may hold it a moment longer.
	for deadline := time.Now().Add(callTimeout); ; time.Sleep(callTimeout / 40) {
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case err == nil:
			return &files{dir: dir, lock: f}, nil
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return nil, errors.Join(unusable(err), f.Close())
		case time.Now().After(deadline):
			return nil, errors.Join(fmt.Errorf("%w: %s: stop that process, or give this one a directory of its own (--data-dir, BUS_VM_DATA_DIR)",
				ErrInUse, dir), f.Close())
		}
	}
}

func (f *files) path() string { return filepath.Join(f.dir, fileName) }

func (f *files) close() error {
	if f == nil {
		return nil
	}
	return f.lock.Close()
}

// remember takes the files as they are now for those that SQLite has open.
func (f *files) remember() (err error) {
	if f == nil {
		return nil
	}
	for i, suffix := range []string{"", "-wal"} {
		var statErr error
		f.seen[i], statErr = os.Stat(f.path() + suffix)
		err = errors.Join(err, statErr)
	}
	return err
}

// check returns errGone when a commit would go into files that the next start
// does not find.
func (f *files) check() error {
	if f == nil {
		return nil
	}
	for i, suffix := range []string{"", "-wal"} {
		if now, err := os.Stat(f.path() + suffix); err != nil || !os.SameFile(now, f.seen[i]) {
			return fmt.Errorf("%w: %s%s", errGone, f.path(), suffix)
		}
	}
	return nil
}

// setAside renames a damaged database and what belongs to it, and returns where
// it is. A -wal whose database is gone would be applied to the new one.
func (f *files) setAside(now time.Time) (aside string, err error) {
	aside = f.path() + damagedInfix + now.UTC().Format("20060102T150405.000000Z")
	for _, suffix := range []string{"-wal", "-shm", "-journal", ""} {
		if renameErr := os.Rename(f.path()+suffix, aside+suffix); !errors.Is(renameErr, fs.ErrNotExist) {
			err = errors.Join(err, renameErr)
		}
	}
	d, openErr := os.Open(f.dir)
	if openErr != nil {
		return aside, errors.Join(err, openErr)
	}
	return aside, errors.Join(err, d.Sync(), d.Close())
}

// damaged lists the databases that were set aside and are still there.
func (f *files) damaged() []string {
	paths := []string{}
	if f == nil {
		return paths
	}
	names, _ := fs.Glob(os.DirFS(f.dir), fileName+damagedInfix+"*Z") // a directory that cannot be read fails the next commit
	for _, name := range names {
		paths = append(paths, filepath.Join(f.dir, name))
	}
	return paths
}
