package app

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/busdk/bus-api-provider-vm/internal/files"
)

// follow adds the part that follows changed files and SIGHUP.
func (a *app) follow(hangup <-chan os.Signal) {
	success := a.metrics.NewGauge("bus_vm_reload_success", nil)
	timestamp := a.metrics.NewGauge("bus_vm_reload_timestamp_seconds", nil)
	succeeded := func() {
		success.Set(1)
		timestamp.Set(float64(time.Now().Unix()))
	}
	succeeded()
	paths := func() []string {
		return []string{a.latest.File, a.latest.JWT.SecretFile, a.config.JWT.JWKSFile, a.config.Events.TokenFile}
	}
	a.add(followFiles(paths, hangup, func(why string) {
		if a.config.Dev && why == onHangup {
			a.stop() // the terminal is closed
		} else if err := a.reload(); err != nil {
			success.Set(0)
			a.logger.Error("reload failed; what was wrong stays as it was before", "why", why, "cause", err,
				"do", "put right what the cause names; it is read again when it changes, or on SIGHUP")
		} else {
			succeeded()
			a.logger.Info("reloaded", "why", why)
		}
	}))
}

// reload reads everything again and puts in force what may change while the
// service runs. Each thing keeps its last good state by itself: a slip in the
// YAML file does not keep a stolen secret valid.
//
// An error of the settings says what those of the files of secrets and keys would; a bad
// token of the provider is reported once the settings are right.
func (a *app) reload() error {
	a.systemd.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	defer a.systemd.notify(daemon.SdNotifyReady)
	next, err := a.latest.Reload()
	if err == nil {
		a.level.Set(next.Log.Level)
		if keys := a.config.NeedRestart(next); len(keys) > 0 {
			a.logger.Warn("changed settings wait for a restart", "settings", keys, "do", "restart the service to put them in force")
		}
		for _, warning := range next.Warnings {
			if !slices.Contains(a.latest.Warnings, warning) {
				a.logger.Warn(warning)
			}
		}
		a.latest = next
	}
	if a.publicKeys != nil {
		a.publicKeys.Refresh()
	}
	return cmp.Or(err, errors.Join(a.rollSecrets(), a.loadPublicKeys(), a.checkProviderToken()))
}

// lookInterval is between two looks at the files. A change is followed after
// one to two of them.
const lookInterval = time.Second

const onHangup = "SIGHUP"

// followFiles takes the files at the paths of now for known, and returns a part that calls
// changed when they are others than at the last call, and at once on a hangup.
//
// Files are compared by content: unlike notifications, time stamps and inodes that sees
// every way in which files are replaced, such as a symbolic link that is switched
// (Kubernetes) or a mount (systemd credentials). A change counts once two looks in a row
// agree on it, so a file that is being written is not taken for finished.
func followFiles(paths func() []string, hangup <-chan os.Signal, changed func(why string)) func(context.Context) error {
	known := look(paths())
	return func(ctx context.Context) error {
		tick := time.NewTicker(lookInterval)
		defer tick.Stop()
		last := known
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-hangup:
				last = look(paths())
				known = last
				changed(onHangup)
			case <-tick.C:
				now := look(paths())
				if now == last && now != known {
					known = now
					changed("a file changed")
				}
				last = now
			}
		}
	}
}

// look returns a digest of the files at paths. That a file cannot be read is a state like
// any other, so its coming and going are changes.
func look(paths []string) [sha256.Size]byte {
	digest := sha256.New()
	for _, path := range paths {
		content, err := files.Read(path, maxLook)
		digest.Write(content)
		fmt.Fprintf(digest, "%q %d %v\n", path, len(content), err)
	}
	return [sha256.Size]byte(digest.Sum(nil))
}

const maxLook = 1 << 20 // bytes of a file that are compared, far more than are read of it
