package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/store"
)

// spaceUnwise are too few bytes free for this user: 100,000 operations with their
// records take about 200 MB.
const spaceUnwise = 256 << 20

// unfitDisks are those where files are gone with the machine, by the numbers of Linux
// (statfs(2)). No other system has these numbers.
var unfitDisks = map[uint32]string{
	0x01021994: "is in memory (tmpfs): records are lost with the machine",
	0x858458f6: "is in memory (ramfs): records are lost with the machine",
}

const dataDirectory = "data directory"

// dataDir writes a file of its own in the data directory, if the operations store
// is there, and looks whether the service has it. For a directory that is missing it
// does so in the nearest one above it, where the service will make it.
func (s Service) dataDir(_ context.Context, r *Report) {
	if url, err := s.StoreURL(); s.Usage.Backend != config.Events || err == nil && !url.IsZero() {
		return
	}
	switch runs, held := answersLive(s.Addr), store.Held(s.DataDir); {
	case held && !runs:
		r.fail(dataDirectory, s.DataDir+": another process has it, and nothing answers on "+s.Addr, "end that process, or choose another --data-dir")
		return
	case runs && !held:
		r.warn(dataDirectory, s.DataDir+": the service that answers on "+s.Addr+" does not have it open", "put the directory back, or restart the service; or run this with the service's settings")
	}
	dir := s.DataDir
	for _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist); _, err = os.Stat(dir) {
		dir = filepath.Dir(dir)
	}
	var disk unix.Statfs_t
	if store.OnNetwork(dir) {
		r.fail(dataDirectory, dir+" is on a network file system, which the service refuses", "choose a local disk for --data-dir, or PostgreSQL (--store-url)")
		return
	}
	took, err := timeSync(dir)
	if err == nil {
		err = unix.Statfs(dir, &disk)
	}
	if err != nil {
		r.fail(dataDirectory, err.Error(), "make "+dir+" a directory that is writable for the user of the service, free space on its disk, or choose another --data-dir")
		return
	}
	free := uint64(disk.Bavail) * uint64(disk.Bsize)
	judgeDisk(r, dir, uint32(disk.Type), free)
	detail := fmt.Sprintf("%s: written and synced in %s, %d MB free", dir, took.Round(10*time.Microsecond), free>>20)
	if dir != s.DataDir {
		detail = s.DataDir + " is going to be made; " + detail
	}
	r.ok(dataDirectory, detail)
}

// judgeDisk examines the kind of disk that dir is on, and the bytes that this
// user may still write.
func judgeDisk(r *Report, dir string, kind uint32, free uint64) {
	if why := unfitDisks[kind]; why != "" {
		r.warn(dataDirectory, dir+" "+why, "choose a local disk for --data-dir")
	}
	if free < spaceUnwise {
		r.warn(dataDirectory, fmt.Sprintf("%d MB are free", free>>20), "free space on the disk of "+dir)
	}
}

// timeSync creates, writes, syncs and removes a file in dir, and returns how
// long the sync took.
func timeSync(dir string) (took time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return 0, err
	}
	_, err = f.Write(make([]byte, 4096)) // about what one usage record takes
	began := time.Now()
	err = errors.Join(err, f.Sync())
	took = time.Since(began)
	return took, errors.Join(err, f.Close(), os.Remove(f.Name()))
}

const database = "database"

// database asks the PostgreSQL that the store URL names, if there is one.
func (s Service) database(ctx context.Context, r *Report) {
	address, err := s.StoreURL()
	if err != nil || address.IsZero() {
		return // an error is among the settings
	}
	ctx, cancel := context.WithTimeout(ctx, networkTimeout)
	defer cancel()
	found, err := store.Ask(ctx, address.Reveal())
	switch {
	case errors.Is(err, store.ErrNewer):
		r.fail(database, err.Error(), "run the newer release")
		return
	case err != nil:
		r.fail(database, strings.Join(strings.Fields(err.Error()), " "), "make the PostgreSQL that store.url names answer this machine, its user and its database")
		return
	}
	judgeDatabase(r, found)
	r.ok(database, fmt.Sprintf("PostgreSQL %d answers in %s", found.Version/10000, found.Took.Round(10*time.Microsecond)))
}

// judgeDatabase examines what a server said.
func judgeDatabase(r *Report, found store.Survey) {
	switch {
	case found.Version < 150000: // as PostgreSQL counts
		r.fail(database, fmt.Sprintf("PostgreSQL %d is too old", found.Version/10000), "use PostgreSQL 15 or later")
	case found.ReadOnly:
		r.fail(database, "it is a standby, or read-only", "let store.url name the primary (target_session_attrs=read-write, where it names several hosts)")
	case !found.MayCreate:
		r.fail(database, "the user may not make the tables of the store", "make it the owner of the database")
	case found.SynchronousCommit == "off":
		r.fail(database, "synchronous_commit is off: what was confirmed may be lost", "turn synchronous_commit on for this user or database")
	case found.Standbys == "":
		r.warn(database, "it has no synchronous standby: a failover may lose operations that were confirmed", "set synchronous_standby_names, if there is a standby")
	}
}
