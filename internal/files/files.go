// Package files reads the files that settings name: small and regular, within a
// deadline.
package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// timeout bounds each look at a file. A file system that hangs costs it once:
// until it answers, further looks at that file fail at once.
const timeout = 2 * time.Second

// hanging holds the paths whose file system has not answered in time, so that
// looking again and again leaves one goroutine behind, not many.
var hanging sync.Map

// ErrNoAnswer: a file system hangs.
var ErrNoAnswer = fmt.Errorf("the file system did not answer within %s", timeout)

// MayPass reports that err is of the file system and no mistake in a path: another
// look may succeed.
func MayPass(err error) bool {
	return slices.ContainsFunc([]error{ErrNoAnswer, syscall.EIO, syscall.ESTALE, syscall.ETIMEDOUT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM},
		func(passing error) bool { return errors.Is(err, passing) })
}

// errNotRegular: a pipe can be read once, and may never end.
var errNotRegular = errors.New("it is no regular file")

// Read returns at most limit bytes of the regular file at path, and its
// description from before, so that a change while reading shows in the next one.
func Read(path string, limit int64) ([]byte, fs.FileInfo, error) {
	type file struct {
		content []byte
		info    fs.FileInfo
	}
	got, err := within(path, func() (f file, err error) {
		open, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // which waits for no writer of a pipe
		if err != nil {
			return f, err
		}
		defer open.Close()
		if f.info, err = regular(open.Stat()); err == nil {
			f.content, err = io.ReadAll(io.LimitReader(open, limit))
		}
		return f, err
	})
	return got.content, got.info, err
}

// Exists reports whether there is anything at path, a symbolic link that leads nowhere
// included: what cannot be looked at is no file that is not there.
func Exists(path string) bool {
	_, err := within(path, func() (fs.FileInfo, error) { return os.Lstat(path) })
	return !errors.Is(err, fs.ErrNotExist)
}

func regular(info fs.FileInfo, err error) (fs.FileInfo, error) {
	if err == nil && !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	return info, err
}

func within[T any](path string, do func() (T, error)) (value T, err error) {
	if _, still := hanging.Load(path); still {
		return value, ErrNoAnswer
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := do()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-time.After(timeout):
	}
	hanging.Store(path, true)
	go func() { // until the file system answers
		<-done
		hanging.Delete(path)
	}()
	return value, ErrNoAnswer
}
