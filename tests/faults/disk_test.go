package faults

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// mount makes a disk of 1 MB. It may not be allowed to on a developer's
// machine; with CI=true that is a failure. It must come before newRig, whose
// gateways end before the disk goes.
func mount(t *testing.T, flags uintptr) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp(harness.Directory(), "disk")
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
// first, the next one finds them in the history.
func TestDiskFull(t *testing.T) {
	rows(t, map[string]bool{"freed": false, "killed and then": true}, func(t *testing.T, killed bool) {
		dir := mount(t, 0)
		r := newRig(t)
		r.common = []string{"BUS_VM_DATA_DIR=" + filepath.Join(dir, "data")}
		g := r.begin(process, r.home())
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
		page := g.get("/readyz")
		assert.Equal(t, http.StatusServiceUnavailable, page.status, "with a full disk")
		assert.NotContains(t, page.body, dir, "anyone may read it")
		r.want(r.read(g), http.StatusOK, "")
		r.VM.Release()
		callers.Wait()
		for _, w := range writes {
			r.wantOutcome(w, http.StatusServiceUnavailable, unavailable, unknown)
		}
		descriptors, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", g.pid))
		require.NoError(t, err)
		assert.Less(t, len(descriptors), 100, "open files")

		if killed {
			g.kill()
			g.wait()
			free()
			g = r.begin(within, g.home)
		} else {
			free()
		}
		r.Usage.SetBehaviour()
		g.awaitReady()
		r.wantRecords(writes, "finished", "accepted")
		r.vmBehaves()
		r.back(g)
	})
}

// A disk that the -wal has filled while another process read the file, as a copy does, takes
// writes again once that has ended: nothing is to be freed.
func TestDiskFullUnderAReader(t *testing.T) {
	dir := mount(t, 0)
	r := newRig(t)
	r.common = []string{"BUS_VM_DATA_DIR=" + filepath.Join(dir, "data")}
	g := r.begin(process, r.home())
	r.connected()
	r.wantWrite(g, stop, http.StatusAccepted, "")

	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "data", "operations.db")+"?_pragma=busy_timeout(1000)")
	require.NoError(t, err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, statement := range []string{ // pages that are free, as in any store that forgets
		"create table gone (x)", "insert into gone values (zeroblob(300000))", "drop table gone", "pragma wal_checkpoint(truncate)",
		"begin", "select * from operations",
	} {
		_, err = db.Exec(statement)
		require.NoError(t, err, statement)
	}
	var last *call
	for last == nil || last.status == http.StatusAccepted {
		last = r.write(g, stop)
	}
	r.want(last, http.StatusServiceUnavailable, unavailable)
	_, err = db.Exec("rollback")
	require.NoError(t, err)
	g.awaitReady()
	r.wantWrite(g, stop, http.StatusAccepted, "")
	r.back(g)
}

// A data directory that cannot be used ends the start with one line that says
// which, and what to do.
func TestUnusableDataDirectory(t *testing.T) {
	readOnly := mount(t, syscall.MS_RDONLY)
	r := newRig(t)
	file := filepath.Join(r.dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, dir := range map[string]string{
		"on a read-only disk":    readOnly,
		"below a read-only disk": filepath.Join(readOnly, "data"),
		"a file":                 file,
		"below a file":           filepath.Join(file, "data"),
		"a place that cannot be": "/proc/self/data",
	} {
		t.Log(name)
		r.wantEnd(r.launch(process, r.home(), "BUS_VM_DATA_DIR="+dir), 1, dir, "--data-dir")
	}
	r.wantWrite(r.gateway(), start, http.StatusAccepted, "")
}

// A second process on one data directory ends at once, and there is no file whose
// removal would let it in; the first goes on.
func TestLockedDataDirectory(t *testing.T) {
	rows(t, map[string]kind{"within": within, "process": process}, func(t *testing.T, k kind) {
		r := newRig(t)
		first := r.gateway()
		left, err := filepath.Glob(filepath.Join(dataDir(first.home), "*"))
		require.NoError(t, err)
		for _, file := range left {
			require.Regexp(t, `operations\.db(-wal|-shm)?$`, file)
		}
		second := r.launch(k, r.home(), "BUS_VM_DATA_DIR="+dataDir(first.home))
		r.wantEnd(second, 1, dataDir(first.home), "in use by another process", "--data-dir")
		r.wantWrite(first, start, http.StatusAccepted, "")
	})
}

// A damaged store is set aside with its -wal, never deleted, and the gateway says
// where. When it can be repaired and is put back, what it holds is delivered.
func TestCorruptStore(t *testing.T) {
	type row struct {
		killed bool // so that there is a -wal
		damage func([]byte) []byte
	}
	noise := func(b []byte) []byte {
		for i := range b {
			b[i] ^= byte(i*7 + 1)
		}
		return b
	}
	rows(t, map[string]row{
		"empty":             {false, func([]byte) []byte { return nil }},
		"empty, killed":     {true, func([]byte) []byte { return nil }},
		"text":              {false, func([]byte) []byte { return []byte("this is no database\n") }},
		"cut short":         {false, func(b []byte) []byte { return b[:len(b)/2] }},
		"zeroed begin":      {false, func(b []byte) []byte { clear(b[:4096]); return b }},
		"noise from a page": {false, func(b []byte) []byte { noise(b[4096:]); return b }},
		"noise all over":    {false, noise},
		"noise, and a -wal": {true, func(b []byte) []byte { noise(b[4096:]); return b }},
	}, func(t *testing.T, c row) {
		r := newRig(t)
		g := r.begin(process, r.home())
		r.connected()
		r.Usage.SetBehaviour(platform.Behaviour{Deaf: true})
		for range 3 {
			r.wantWrite(g, start, http.StatusAccepted, "")
		}
		g.stop()
		if c.killed {
			g = r.begin(process, g.home)
			r.connected()
			r.wantWrite(g, start, http.StatusAccepted, "")
			g.kill()
			g.wait()
		}
		path := g.storeFile()
		good := map[string][]byte{}
		for _, suffix := range []string{"", "-wal"} {
			content, err := os.ReadFile(path + suffix)
			require.Equal(t, c.killed || suffix == "", err == nil, "%s: %v", suffix, err)
			good[suffix] = content
		}
		require.NoError(t, os.WriteFile(path, c.damage(append([]byte(nil), good[""]...)), 0o600))

		r.Usage.SetBehaviour()
		g = r.begin(process, g.home)
		aside, err := filepath.Glob(path + ".damaged-*Z")
		require.NoError(t, err)
		require.Len(t, aside, 1, g.log)
		g.wantLog(aside[0])
		assert.Contains(t, g.look("/debug/store"), aside[0])
		if c.killed {
			content, err := os.ReadFile(aside[0] + "-wal")
			require.NoError(t, err)
			assert.True(t, bytes.Equal(good["-wal"], content), "the -wal is another")
		}
		r.wantWrite(g, stop, http.StatusAccepted, "")
		g.awaitSettled()
		g.stop()
		for suffix, content := range good {
			require.NoError(t, os.WriteFile(path+suffix, content, 0o600))
		}
	})
}

// The store is removed, replaced or moved under the process. Nothing counts from
// then on: each write is refused before any work, /readyz and one line say why,
// and what was under way is unknown to its caller. Where the files are put back,
// the process goes on; where they are lost, the next one begins a new store.
func TestStoreIsGone(t *testing.T) {
	aside := func(of func(*gateway) string) (take, back func(*gateway) error) {
		return func(g *gateway) error { return os.Rename(of(g), of(g)+".aside") },
			func(g *gateway) error {
				return errors.Join(os.RemoveAll(of(g)), os.Rename(of(g)+".aside", of(g)))
			}
	}
	directory := func(g *gateway) string { return g.data }
	wal := func(g *gateway) string { return g.storeFile() + "-wal" }
	type row struct{ take, back func(*gateway) error }
	moved := func(of func(*gateway) string) row { take, back := aside(of); return row{take, back} }
	another := moved(directory)
	take := another.take
	another.take = func(g *gateway) error { return errors.Join(take(g), os.Mkdir(directory(g), 0o700)) }
	replaced := moved((*gateway).storeFile)
	replaced.take = func(g *gateway) error {
		content, err := os.ReadFile(g.storeFile())
		return errors.Join(err, os.Rename(g.storeFile(), g.storeFile()+".aside"), os.WriteFile(g.storeFile(), content, 0o600))
	}
	rows(t, map[string]row{
		"the file is removed":      {func(g *gateway) error { return os.Remove(g.storeFile()) }, nil},
		"the -wal is removed":      {func(g *gateway) error { return os.Remove(wal(g)) }, nil},
		"the directory is removed": {func(g *gateway) error { return os.RemoveAll(directory(g)) }, nil},
		"the file is moved":        moved((*gateway).storeFile),
		"the -wal is moved":        moved(wal),
		"the file is replaced":     replaced,
		"the directory is moved":   moved(directory),
		"the directory is another": another,
	}, func(t *testing.T, c row) {
		r := newRig(t)
		g := r.begin(process, r.home(), "BUS_VM_STORE_KEEP=24h")
		r.connected()
		r.wantWrite(g, start, http.StatusAccepted, "")
		var writes []*call
		answered := &sync.WaitGroup{}
		if c.back != nil { // what is in a lost store is lost
			writes, answered = r.underWay(g, 3, platform.Behaviour{})
		}
		g.awaitDelivered()
		published := r.Events.Accepted(platform.StopRequest)
		require.NoError(t, c.take(g))
		for range 5 {
			r.wantOutcome(r.write(g, stop), http.StatusServiceUnavailable, unavailable, notSent)
		}
		assert.Equal(t, published, r.Events.Accepted(platform.StopRequest), "stops published")
		assert.Equal(t, http.StatusServiceUnavailable, g.ready())
		r.want(r.read(g), http.StatusOK, "")
		r.VM.Release()
		answered.Wait()
		for _, w := range writes {
			r.wantOutcome(w, http.StatusServiceUnavailable, unavailable, unknown)
		}
		assert.Equal(t, 1, strings.Count(g.log.all(), "does not take writes"), g.log)
		g.wantLog("put the file back")
		if c.back != nil {
			require.NoError(t, c.back(g))
			g.awaitReady()
			r.wantRecords(writes, "finished", "accepted")
		} else {
			g.stop()
			g = r.begin(process, g.home)
		}
		r.wantWrite(g, stop, http.StatusAccepted, "")
	})
}
