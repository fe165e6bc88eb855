package faults

import (
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// mount makes a disk of 1 MB. It may not be allowed to on a developer's
// machine; with CI=true that is a failure. It must come before newRig, whose
// gateways end before the disk goes.
func mount(t *testing.T, flags uintptr) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp(suite.dir, "disk")
	require.NoError(t, err)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, "size=1m,mode=0700"); err != nil {
		require.NotEqual(t, "true", os.Getenv("CI"), "this test needs to mount a tmpfs: %v", err)
		t.Skipf("no tmpfs can be mounted (%v); with CI=true this would be a failure", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, 0)) })
	return dir
}

// fill takes all that is left of a disk; the returned function gives it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	require.NoError(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, f.Close())
	return func() { require.NoError(t, os.Remove(path)) }
}

// A full disk refuses starts and stops before any work, and /readyz says so.
// Writes that are under way are carried out; their end is kept in memory and
// written when there is room again, without a restart. If the process dies
// first, they are closed with an unknown outcome.
func TestDiskFull(t *testing.T) {
	type row struct {
		kind           kind
		killed         bool
		phase, outcome string
	}
	rows(t, map[string]row{
		"freed":           {within, false, "finished", "accepted"},
		"killed and then": {process, true, "failed", "unknown"},
	}, func(t *testing.T, c row) {
		dir := mount(t, 0)
		r := newRig(t)
		r.common = []string{"BUS_VM_DATA_DIR=" + filepath.Join(dir, "data")}
		g := r.begin(c.kind, r.home())
		r.connected()
		r.wantWrite(g, stop, http.StatusAccepted, "")

		writes, callers := r.underWay(g, 5, platform.Behaviour{})

		// The file has some free pages of its own. Records that are not delivered
		// use them up.
		r.Usage.SetBehaviour(refuses(platform.EventError{Code: "unavailable", Message: "later"}))
		free := fill(t, dir)
		var last *call
		for last == nil || last.status == http.StatusAccepted {
			last = r.write(g, stop)
		}
		r.want(last, http.StatusServiceUnavailable, unavailable)
		before := r.Events.Accepted(platform.StopRequest)
		r.wantWrite(g, stop, http.StatusServiceUnavailable, unavailable)
		assert.Equal(t, before, r.Events.Accepted(platform.StopRequest), "a stop was published that is not on record")
		assert.Equal(t, http.StatusServiceUnavailable, g.ready(), "with a full disk")
		r.want(r.read(g), http.StatusOK, "")
		r.VM.Release()
		callers.Wait()
		for _, w := range writes {
			r.want(w, http.StatusServiceUnavailable, unavailable)
		}

		if c.killed {
			g.kill()
			g.wait()
			free()
			g = r.begin(within, g.home)
		} else {
			free()
		}
		r.Usage.SetBehaviour()
		g.awaitReady()
		r.wantRecords(writes, c.phase, c.outcome)
		r.vmBehaves()
		r.back(g)
	})
}

// A data directory that cannot be used ends the start with one line that says
// which, and what to do.
func TestUnusableDataDirectory(t *testing.T) {
	readOnly := mount(t, syscall.MS_RDONLY)
	r := newRig(t)
	file := filepath.Join(r.dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	lock := filepath.Join(r.dir, "blocked", "operations.lock")
	require.NoError(t, os.MkdirAll(lock, 0o700))
	for name, dir := range map[string]string{
		"on a read-only disk":      readOnly,
		"below a read-only disk":   filepath.Join(readOnly, "data"),
		"a file":                   file,
		"below a file":             filepath.Join(file, "data"),
		"a place that cannot be":   "/proc/self/data",
		"with a directory as lock": filepath.Dir(lock),
	} {
		t.Log(name)
		r.wantEnd(r.launch(process, r.home(), "BUS_VM_DATA_DIR="+dir), 1, dir, "--data-dir")
	}
	r.wantWrite(r.gateway(), start, http.StatusAccepted, "")
}

// A second process on one data directory ends at once; the first goes on.
func TestLockedDataDirectory(t *testing.T) {
	rows(t, map[string]kind{"within": within, "process": process}, func(t *testing.T, k kind) {
		r := newRig(t)
		first := r.gateway()
		second := r.launch(k, r.home(), "BUS_VM_DATA_DIR="+dataDir(first.home))
		r.wantEnd(second, 1, dataDir(first.home), "in use by another process", "--data-dir")
		r.wantWrite(first, start, http.StatusAccepted, "")
	})
}

// A damaged outbox is set aside, never deleted, and the gateway says where. When
// it can be repaired and is put back, what it holds is delivered.
func TestCorruptOutbox(t *testing.T) {
	rows(t, map[string]func([]byte) []byte{
		"empty": func([]byte) []byte { return nil },
		"text":  func([]byte) []byte { return []byte("this is no database\n") },
		// Both meta pages and most of the third: a later cut can leave every page in use.
		"cut short":    func(b []byte) []byte { return b[:3*os.Getpagesize()-100] },
		"zeroed begin": func(b []byte) []byte { clear(b[:8192]); return b },
		"noise all over": func(b []byte) []byte {
			for i := range b {
				b[i] ^= byte(i*7 + 1)
			}
			return b
		},
	}, func(t *testing.T, damage func([]byte) []byte) {
		r := newRig(t)
		g := r.gateway()
		r.Usage.SetBehaviour(platform.Behaviour{Deaf: true})
		for range 3 {
			r.wantWrite(g, start, http.StatusAccepted, "")
		}
		g.stop()
		path := filepath.Join(dataDir(g.home), "operations.db")
		good, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, damage(append([]byte(nil), good...)), 0o600))

		r.Usage.SetBehaviour()
		g = r.begin(within, g.home)
		aside, err := filepath.Glob(path + ".damaged-*")
		require.NoError(t, err)
		require.Len(t, aside, 1, g.log)
		g.wantLog(aside[0])
		r.wantWrite(g, stop, http.StatusAccepted, "")
		g.awaitDelivered()
		g.stop()
		require.NoError(t, os.WriteFile(path, good, 0o600))
	})
}
