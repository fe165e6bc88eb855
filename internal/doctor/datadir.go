package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// spaceUnwise and spaceBroken are bytes free for this user: a full outbox
	// of 100,000 records takes about 100 MB, and a start copies it once.
	spaceUnwise = 256 << 20
	spaceBroken = 16 << 20
	// syncUnwise is a sync that callers would feel: a start waits for four.
	syncUnwise = 100 * time.Millisecond
	// probeBytes is about what one usage record takes.
	probeBytes = 4096
)

// dataDir does in the data directory what the outbox does there, with a file of
// its own. A directory that is missing is looked at in its parent, where the
// service will make it.
func (c Config) dataDir(context.Context) (found []Check) {
	const name = "data directory"
	if c.DataDir == "" {
		return nil
	}
	dir, missing, err := existing(c.DataDir)
	if err != nil {
		return []Check{{name, Failed, err.Error(), "make the directory and give it to the user of the service, or choose another --data-dir"}}
	}
	took, err := probe(dir)
	if err != nil {
		return []Check{{name, Failed, err.Error(), "make " + dir + " writable for the user of the service, free space on its disk, or choose another --data-dir"}}
	}
	if took > syncUnwise {
		found = append(found, Check{name, Warning, fmt.Sprintf("a sync takes %s, and a start or stop waits for several", took.Round(time.Millisecond)), "choose a faster disk for --data-dir"})
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return append(found, Check{name, Warning, "its disk cannot be looked at: " + err.Error(), "look at df " + dir})
	}
	found = append(found, judgeDisk(dir, &disk)...)
	detail := fmt.Sprintf("%s: written and synced in %s, %d MB free", dir, took.Round(10*time.Microsecond), free(&disk)>>20)
	if missing {
		detail = c.DataDir + " is going to be made; " + detail
	}
	return orOK(found, name, detail)
}

// judgeDisk looks at the kind of disk that dir is on, and at its free space.
func judgeDisk(dir string, disk *unix.Statfs_t) (found []Check) {
	const name = "data directory"
	if why := unfitDisk(disk); why != "" {
		found = append(found, Check{name, Warning, dir + " " + why, "choose a local disk for --data-dir"})
	}
	status := OK
	switch {
	case free(disk) < spaceBroken:
		status = Failed
	case free(disk) < spaceUnwise:
		status = Warning
	}
	if status != OK {
		found = append(found, Check{name, status, fmt.Sprintf("%d MB are free", free(disk)>>20), "free space on the disk of " + dir})
	}
	return found
}

// free is what this user may still write, in bytes.
func free(disk *unix.Statfs_t) uint64 { return uint64(disk.Bavail) * uint64(disk.Bsize) }

// existing is dir, or the nearest directory above it that exists.
func existing(dir string) (at string, missing bool, err error) {
	at, err = filepath.Abs(dir)
	if err != nil {
		return "", false, err
	}
	for {
		info, err := os.Stat(at)
		switch {
		case err == nil && info.IsDir():
			return at, missing, nil
		case err == nil:
			return "", false, fmt.Errorf("%s is no directory", at)
		case !errors.Is(err, fs.ErrNotExist):
			return "", false, err
		}
		at, missing = filepath.Dir(at), true
	}
}

// probe creates, writes, syncs, renames and removes a file in dir, and returns
// how long the two syncs took on the average.
func probe(dir string) (took time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return 0, err
	}
	path := f.Name()
	defer func() { err = errors.Join(err, os.Remove(path)) }()
	_, err = f.Write(make([]byte, probeBytes))
	began := time.Now()
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return 0, err
	}
	if err := os.Rename(path, path+"-renamed"); err != nil {
		return 0, err
	}
	path += "-renamed"
	d, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return 0, err
	}
	return time.Since(began) / 2, nil
}
