// Package reload notices that files behind the settings changed, or that an
// operator asks with SIGHUP, and has everything read again.
//
// Files are compared by content, once a second. That costs next to nothing for
// a few small files, and unlike notifications, or time stamps and inodes, it
// sees every way in which files are replaced: written in place, renamed over,
// switched by a symbolic link (Kubernetes), mounted again (systemd credentials),
// on any file system, within the resolution of its clock. A change counts once
// two looks in a row agree on it, so a file that is being written is not taken
// for finished.
package reload

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// interval is between two looks at the files. A change is followed after one
// to two of them.
const interval = time.Second

// Config configures New. Nothing but Signals may be left out.
type Config struct {
	// Files are the paths to look at now; empty ones are passed over.
	Files func() []string
	// Apply reads everything again and puts in force what is right. Its error
	// says what is not, and that the last good state of that was kept. It is
	// never called twice at once.
	Apply func() error
	// Signals asks for a reload at once, changed or not; nil for never.
	Signals <-chan os.Signal
	// Logger gets one line for each reload.
	Logger *slog.Logger
	// Metrics gets the result and the time of the last reload.
	Metrics *metrics.Set
}

// Reloader is a Run that follows changes.
type Reloader struct {
	Config
	applied fingerprint // the files as they were before the last reload

	success, timestamp *metrics.Gauge
}

// New returns a Reloader that takes the files as they are now for applied: make
// it before they are read for the first time.
func New(config Config) *Reloader {
	r := &Reloader{
		Config:    config,
		applied:   look(config.Files()),
		success:   config.Metrics.NewGauge("bus_vm_reload_success", nil),
		timestamp: config.Metrics.NewGauge("bus_vm_reload_timestamp_seconds", nil),
	}
	r.succeeded()
	return r
}

// Run follows changes until ctx ends, and returns nil then.
func (r *Reloader) Run(ctx context.Context) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	last := r.applied
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.Signals:
			last = look(r.Files())
			r.reload(last, "SIGHUP")
		case <-tick.C:
			now := look(r.Files())
			if now == last && now != r.applied {
				r.reload(now, "a file changed")
			}
			last = now
		}
	}
}

// reload applies the files that gave seen. A failure is not tried again until
// the files change once more or a signal comes.
func (r *Reloader) reload(seen fingerprint, why string) {
	r.applied = seen
	if err := r.Apply(); err != nil {
		r.success.Set(0)
		r.Logger.Error("reload failed; what was wrong stays as it was before", "why", why, "cause", err,
			"do", "put right what the cause names; it is read again when it changes, or on SIGHUP")
		return
	}
	r.succeeded()
	r.Logger.Info("reloaded", "why", why)
}

func (r *Reloader) succeeded() {
	r.success.Set(1)
	r.timestamp.Set(float64(time.Now().Unix()))
}

// fingerprint is that of the paths and contents of files.
type fingerprint [sha256.Size]byte

// look takes the fingerprint of the files at paths. That a file cannot be read
// is a state like any other, so its coming and going are changes.
func look(paths []string) fingerprint {
	digest := sha256.New()
	for _, path := range paths {
		if path != "" {
			n, err := read(digest, path)
			fmt.Fprintf(digest, "%q %d %v\n", path, n, err)
		}
	}
	return fingerprint(digest.Sum(nil))
}

// maxLook bounds how much of a file is compared, in bytes. All of them are
// bounded far below by their readers.
const maxLook = 1 << 20

var errNotRegular = errors.New("not a regular file")

// read copies a file to w. Others than regular ones, such as the pipe of a
// shell, can be read once only and are left alone.
func read(w io.Writer, path string) (int64, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		return 0, err
	}
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	return io.Copy(w, io.LimitReader(file, maxLook))
}
