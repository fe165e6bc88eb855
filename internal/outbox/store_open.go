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

// create makes an empty file that appears under its name when it is complete.
func create(path string) error {
	fresh := filepath.Join(filepath.Dir(path), freshName)
	if err := removeIfThere(fresh); err != nil {
		return err
	}
	db, err := openFile(fresh)
	if err != nil {
		return err
	}
	// One transaction: a file under the right name has all its buckets.
	err = db.Update(func(tx *bbolt.Tx) error {
		_, recordsErr := tx.CreateBucket([]byte(recordsBucket))
		_, parkedErr := tx.CreateBucket([]byte(parkedBucket))
		meta, metaErr := tx.CreateBucket([]byte(metaBucket))
		if err := errors.Join(recordsErr, parkedErr, metaErr); err != nil {
			return err
		}
		return meta.Put([]byte(schemaKey), []byte(strconv.Itoa(schema)))
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	return install(fresh, path)
}

// setAside renames a damaged file, never over another one, and returns where
// it is.
func setAside(path string, now time.Time) (string, error) {
	for i := 0; ; i++ {
		aside := path + damagedInfix + now.UTC().Format("20060102T150405.000000Z")
		if i > 0 {
			aside += "-" + strconv.Itoa(i)
		}
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			return aside, install(path, aside)
		} else if err != nil {
			return "", err
		}
	}
}
