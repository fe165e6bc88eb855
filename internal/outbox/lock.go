package outbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lockDir makes the data directory when it is missing and locks it for as long
// as the returned file is open. The lock is on a file of its own, because each
// start replaces the outbox file itself, and a lock would stay with the old one.
func lockDir(dir string) (*os.File, error) {
	if err := makeDir(dir); err != nil {
		return nil, unusable(dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, unusable(dir, err)
	}
	// A process that is just ending may hold it a moment longer.
	for deadline := time.Now().Add(lockWait); ; time.Sleep(lockRetry) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return nil, errors.Join(unusable(dir, err), f.Close())
		case time.Now().After(deadline):
			return nil, errors.Join(fmt.Errorf("the data directory %s is in use by another process: "+
				"stop that process, or give this one a directory of its own (--data-dir, BUS_VM_DATA_DIR)", dir), f.Close())
		}
	}
}

func makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// syncDir makes the names in dir survive a power loss.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func unusable(dir string, err error) error {
	return fmt.Errorf("the data directory %s cannot be used: make it writable for this user, "+
		"or name another (--data-dir, BUS_VM_DATA_DIR): %w", dir, err)
}
