package outbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// openStore opens the file of the data directory, which the caller has locked,
// and returns what is in it. A missing file is made, a damaged one is set
// aside and replaced.
func openStore(config Config) (*store, contents, error) {
	path := filepath.Join(config.Dir, fileName)
	db, found, err := openExisting(path, config)
	if errors.Is(err, errDamaged) {
		aside, moveErr := setAside(path, config.Now())
		if moveErr != nil {
			return nil, found, fmt.Errorf("%w; it cannot be set aside either: %w", err, moveErr)
		}
		config.Logger.Error("THE USAGE OUTBOX WAS DAMAGED: it is set aside and a new one is started", "file", aside, "cause", err,
			"do", "keep the file: records in it that were not delivered are not billed until someone recovers them")
		found, err = contents{}, fs.ErrNotExist
	}
	if errors.Is(err, fs.ErrNotExist) {
		if err = create(path); err == nil {
			db, err = openFile(path)
		}
	}
	if err != nil {
		return nil, found, fmt.Errorf("open the usage outbox %s: %w", path, err)
	}
	return &store{db: db, update: db.Update}, found, nil
}

func openExisting(path string, config Config) (*bbolt.DB, contents, error) {
	found, err := inspect(path)
	if err != nil {
		return nil, found, err
	}
	switch err := rewrite(path); {
	case errors.Is(err, errDamaged):
		return nil, found, err
	case err != nil:
		// A full disk should not keep the process down: reads are still
		// answered, and writes are once there is space.
		config.Logger.Warn("the usage outbox file could not be copied at start and is used as it is",
			"file", path, "cause", err)
	}
	db, err := openFile(path)
	return db, found, err
}

// options for the file. The list of free pages is not stored but found by a
// scan at open: fewer pages a commit, and no list that can be damaged.
func options() *bbolt.Options {
	return &bbolt.Options{
		Timeout:        lockWait,
		FreelistType:   bbolt.FreelistMapType,
		NoFreelistSync: true,
	}
}

func openFile(path string) (db *bbolt.DB, err error) {
	err = sorted(func() error {
		db, err = bbolt.Open(path, 0o600, options())
		return err
	})
	return db, err
}

// sorted calls f and sorts its error: what the system refused is returned as
// it is, everything else is damage.
func sorted(f func() error) error {
	err := guard(f)
	var refused syscall.Errno
	switch {
	case err == nil, errors.As(err, &refused), errors.Is(err, errDamaged), errors.Is(err, errNewer):
		return err
	case errors.Is(err, bbolterrors.ErrTimeout):
		return fmt.Errorf("another program has the file open: %w", err)
	}
	return fmt.Errorf("%w: %w", errDamaged, err)
}

// create makes an empty file.
func create(path string) error {
	return build(path, func(db *bbolt.DB) error {
		return db.Update(func(tx *bbolt.Tx) error {
			_, recordsErr := tx.CreateBucket([]byte(recordsBucket))
			_, parkedErr := tx.CreateBucket([]byte(parkedBucket))
			meta, metaErr := tx.CreateBucket([]byte(metaBucket))
			if err := errors.Join(recordsErr, parkedErr, metaErr); err != nil {
				return err
			}
			return meta.Put([]byte(schemaKey), []byte(strconv.Itoa(schema)))
		})
	})
}

// rewrite copies what is in the file at path to a new one that takes its
// place. So the process only ever writes to a file that it made itself, which
// has no damage that reading does not show, and the space of an outage that is
// over returns to the disk, since bbolt never shrinks a file.
func rewrite(path string) error {
	return readFile(path, func(from *bbolt.DB) error {
		return build(path, func(to *bbolt.DB) error {
			to.NoSync = true // until the end
			return errors.Join(bbolt.Compact(to, from, copyBytes), to.Sync())
		})
	})
}

// build makes a file that appears under its name, in place of another, when fill
// has completed it.
func build(path string, fill func(*bbolt.DB) error) error {
	fresh := filepath.Join(filepath.Dir(path), freshName)
	if err := removeIfThere(fresh); err != nil {
		return err
	}
	db, err := openFile(fresh)
	if err != nil {
		return err
	}
	if err := errors.Join(fill(db), db.Close()); err != nil {
		return errors.Join(err, removeIfThere(fresh))
	}
	return install(fresh, path)
}

// setAside renames a damaged file, and returns where it is. The time keeps it
// apart from others.
func setAside(path string, now time.Time) (string, error) {
	aside := path + damagedInfix + now.UTC().Format("20060102T150405.000000Z")
	return aside, install(path, aside)
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
