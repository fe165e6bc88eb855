package outbox

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

const page = 4096

// backlog writes n undelivered operations and returns the data directory.
func backlog(t *testing.T, n int) (dir string, ops []lifecycle.Operation) {
	t.Helper()
	dir = t.TempDir()
	o := start(t, Config{Dir: dir, Sender: newSink((&gate{err: errDown}).answer)})
	ops = o.pairs(n)
	o.stop()
	return dir, ops
}

// A damaged file never keeps the process from starting and is never lost.
func TestDamagedFileIsSetAside(t *testing.T) {
	for name, damage := range map[string]func(data []byte) []byte{
		"empty":                func([]byte) []byte { return nil },
		"one byte":             func([]byte) []byte { return []byte{1} },
		"text":                 func([]byte) []byte { return bytes.Repeat([]byte("no database "), page) },
		"zeros":                func(d []byte) []byte { return make([]byte, len(d)) },
		"a page long":          func(d []byte) []byte { return d[:page] },
		"cut after the metas":  func(d []byte) []byte { return d[:2*page] },
		"cut in the middle":    func(d []byte) []byte { return d[:len(d)/2/page*page+100] },
		"both metas checksums": func(d []byte) []byte { d[60], d[page+60] = d[60]+1, d[page+60]+1; return d },
		"pages zeroed":         func(d []byte) []byte { clear(d[2*page:]); return d },
		"another database": func([]byte) []byte {
			path := filepath.Join(t.TempDir(), "db")
			db, err := bbolt.Open(path, 0o600, nil)
			require.NoError(t, err)
			require.NoError(t, db.Close())
			return read(t, path)
		},
		"pages of noise": func(d []byte) []byte {
			r := rand.New(rand.NewPCG(1, 2))
			for i := 2 * page; i < len(d); i++ {
				d[i] = byte(r.Uint32())
			}
			return d
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := backlog(t, 50)
			path := filepath.Join(dir, fileName)
			damaged := damage(read(t, path))
			require.NoError(t, os.WriteFile(path, damaged, 0o600))
			var log bytes.Buffer
			s := newSink(nil)
			o := start(t, Config{Dir: dir, Sender: s, Logger: logTo(&log)})
			found, err := filepath.Glob(path + ".damaged-*")
			require.NoError(t, err)
			require.Len(t, found, 1)
			report, err := o.Report()
			require.NoError(t, err)
			assert.Equal(t, found, report.DamagedFiles)
			assert.True(t, bytes.Equal(read(t, found[0]), damaged), "the file that was set aside is not what was found")
			assert.Regexp(t, "^.*ERROR.*"+regexp.QuoteMeta(found[0])+".*\n$", log.String())
			ops := o.pairs(1)
			s.await(t, 2)
			checkPairs(t, s, ops)
		})
	}
}

// Bytes change anywhere: Open gives an outbox that works, one way or the other,
// and what it delivers is what was written or is missing. A changed byte inside
// a text cannot be noticed, so contents are not compared.
func TestFlippedBytes(t *testing.T) {
	dir, _ := backlog(t, 30)
	pristine := read(t, filepath.Join(dir, fileName))
	r := rand.New(rand.NewPCG(3, 4))
	aside := 0
	for round := range 150 {
		data := bytes.Clone(pristine)
		at := r.IntN(len(data) - 64)
		for i := range 1 + r.IntN(64) {
			data[at+i] = byte(r.Uint32())
		}
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, fileName), data, 0o600))
		s := newSink(nil)
		t.Logf("round %d, bytes at %d", round, at)
		o := start(t, Config{Dir: dir, Sender: s}, noSync)
		o.pair(newOperation(), lifecycle.Accepted)
		o.stop()
		if found, _ := filepath.Glob(filepath.Join(dir, fileName+".damaged-*")); len(found) > 0 {
			aside++
		}
	}
	assert.NotZero(t, aside, "no damage was noticed")
}

// One row that makes no sense does not cost the others.
func TestUnreadableRowIsParked(t *testing.T) {
	dir, _ := backlog(t, 3)
	left := 5
	o := mustOpen(t, Config{Dir: dir, Sender: newSink(nil)})
	broken := requestedKey(o.operations.Front().Next().Value.(*operation).number)
	raw := []byte(`{"record":{"event_type":`)
	edit(t, o, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(recordsBucket)).Put(key(broken), raw)
	})
	mustClose(t, o)
	for range 2 {
		s := newSink(nil)
		o := start(t, Config{Dir: dir, Sender: s})
		s.await(t, left)
		left = 0 // the second start has nothing to deliver
		o.stop()
		assert.Equal(t, Stats{Records: 1, Parked: 1}, o.Stats())
	}
	found, err := inspect(filepath.Join(dir, fileName))
	require.NoError(t, err)
	assert.Equal(t, 1, found.stuck)
	assert.Empty(t, found.rows)
	o = mustOpen(t, Config{Dir: dir, Sender: newSink(nil)})
	defer mustClose(t, o)
	report, err := o.Report()
	require.NoError(t, err)
	require.Len(t, report.ParkedRecords, 1)
	assert.Equal(t, ParkedRecord{Row: broken, Reason: "the row cannot be read", ParkedAt: report.ParkedRecords[0].ParkedAt}, report.ParkedRecords[0])
}

func TestImpossibleRowsAreDamage(t *testing.T) {
	for name, change := range map[string]func(records *bbolt.Bucket) error{
		"too long":       func(b *bbolt.Bucket) error { return b.Put(key(2), make([]byte, maxRow+1)) },
		"a short key":    func(b *bbolt.Bucket) error { return b.Put([]byte("2"), []byte("{}")) },
		"a long key":     func(b *bbolt.Bucket) error { return b.Put(make([]byte, maxKey+1), []byte("{}")) },
		"a bucket in it": func(b *bbolt.Bucket) error { _, err := b.CreateBucket(key(2)); return err },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			o := mustOpen(t, Config{Dir: dir, Sender: newSink(nil)})
			edit(t, o, func(tx *bbolt.Tx) error { return change(tx.Bucket([]byte(recordsBucket))) })
			mustClose(t, o)
			_, err := inspect(filepath.Join(dir, fileName))
			assert.ErrorIs(t, err, errDamaged)
		})
	}
}

// A start that was killed while it made or compacted the file leaves a copy.
func TestLeftoverOfAKilledStart(t *testing.T) {
	dir, ops := backlog(t, 3)
	require.NoError(t, os.WriteFile(filepath.Join(dir, freshName), []byte(fmt.Sprint(ops)), 0o600))
	s := newSink(nil)
	start(t, Config{Dir: dir, Sender: s})
	s.await(t, 6)
	checkPairs(t, s, ops)
}
