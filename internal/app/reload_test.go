package app

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, harness.FasthttpStays...) }

// bench is followFiles on real files and the clock of a bubble.
type bench struct {
	directory string
	files     atomic.Pointer[[]string]
	hangup    chan os.Signal
	applied   []time.Duration // when, since the start
	began     time.Time
}

// try runs do with followFiles on the file "f", which holds "one".
func try(t *testing.T, do func(t *testing.T, b *bench)) *bench {
	t.Helper()
	b := &bench{directory: t.TempDir()}
	b.follow(b.path("f"), "")
	b.write(t, "f", "one")
	synctest.Test(t, func(t *testing.T) {
		b.began, b.hangup = time.Now(), make(chan os.Signal, 1)
		run := followFiles(func() []string { return *b.files.Load() }, b.hangup, func(string) {
			b.applied = append(b.applied, time.Since(b.began))
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- run(ctx) }()
		do(t, b)
		cancel()
		require.NoError(t, <-ended)
	})
	return b
}

func (b *bench) follow(paths ...string) { b.files.Store(&paths) }

func (b *bench) path(name string) string { return filepath.Join(b.directory, name) }

func (b *bench) write(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(b.path(name)), 0o700))
	require.NoError(t, os.WriteFile(b.path(name), []byte(text), 0o600))
}

// pass lets time pass, and everything settle that is due by then.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// Each way in which files are replaced is noticed once, after two looks.
func TestChangesAreNoticed(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, b *bench){
		"written in place": func(t *testing.T, b *bench) { b.write(t, "f", "two") },
		"same size and time": func(t *testing.T, b *bench) {
			info, err := os.Stat(b.path("f"))
			require.NoError(t, err)
			b.write(t, "f", "eno")
			require.NoError(t, os.Chtimes(b.path("f"), info.ModTime(), info.ModTime()))
		},
		"renamed over": func(t *testing.T, b *bench) {
			b.write(t, "new", "two")
			require.NoError(t, os.Rename(b.path("new"), b.path("f")))
		},
		"replaced by a link": func(t *testing.T, b *bench) {
			b.write(t, "new", "two")
			require.NoError(t, os.Remove(b.path("f")))
			require.NoError(t, os.Symlink(b.path("new"), b.path("f")))
		},
		"removed": func(t *testing.T, b *bench) { require.NoError(t, os.Remove(b.path("f"))) },
		"emptied": func(t *testing.T, b *bench) { b.write(t, "f", "") },
		"made a directory": func(t *testing.T, b *bench) {
			require.NoError(t, os.Remove(b.path("f")))
			require.NoError(t, os.Mkdir(b.path("f"), 0o700))
		},
		"made a pipe without a writer": func(t *testing.T, b *bench) {
			require.NoError(t, os.Remove(b.path("f")))
			require.NoError(t, syscall.Mkfifo(b.path("f"), 0o600))
		},
		"another path": func(t *testing.T, b *bench) {
			b.write(t, "g", "one")
			b.follow(b.path("g"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := try(t, func(t *testing.T, b *bench) {
				pass(2500 * time.Millisecond)
				change(t, b)
				pass(time.Minute)
			})
			assert.Equal(t, []time.Duration{4 * time.Second}, b.applied)
		})
	}
}

// What is no change, and when a change is followed.
func TestWhenChangesAreFollowed(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(t *testing.T, b *bench)
		want []time.Duration
	}{
		"no change": {func(t *testing.T, b *bench) {
			pass(time.Minute)
			require.NoError(t, os.Chtimes(b.path("f"), time.Unix(0, 0), time.Unix(1, 0)))
			pass(time.Minute)
			b.write(t, "f", "one")
		}, nil},
		"a file that is being written is left to settle": {func(t *testing.T, b *bench) {
			pass(500 * time.Millisecond)
			for length := range 20 {
				b.write(t, "f", strings.Repeat("x", length))
				pass(time.Second)
			}
		}, []time.Duration{21 * time.Second}},
		"before it runs": {func(t *testing.T, b *bench) {
			b.write(t, "f", "two") // run is not there before the first Wait
		}, []time.Duration{2 * time.Second}},
		"signals apply at once, changed or not, and what they applied is no change": {func(t *testing.T, b *bench) {
			pass(500 * time.Millisecond)
			b.hangup <- syscall.SIGHUP
			pass(time.Second)
			b.write(t, "f", "two")
			b.hangup <- syscall.SIGHUP
		}, []time.Duration{500 * time.Millisecond, 1500 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			b := try(t, func(t *testing.T, b *bench) {
				c.do(t, b)
				pass(time.Minute)
			})
			assert.Equal(t, c.want, b.applied)
		})
	}
}
