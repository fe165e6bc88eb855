// Package files reads the files that settings name: small and regular, within a
// deadline.
package files

import (
	"cmp"
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

// Read returns at most limit bytes of the regular file at path, which its errors do not
// name.
func Read(path string, limit int64) (content []byte, err error) {
	var read []byte
	err = within(path, func() error {
		file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // which waits for no writer of a pipe
		if err != nil {
			return err
		}
		defer file.Close()
		if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
			return cmp.Or(err, errNotRegular)
		}
		read, err = io.ReadAll(io.LimitReader(file, limit))
		return err
	})
	if !errors.Is(err, ErrNoAnswer) {
		content = read
	}
	return content, cmp.Or(errors.Unwrap(err), err)
}

// Exists reports whether there is anything at path, a symbolic link that leads nowhere
// included: what cannot be looked at is no file that is not there.
func Exists(path string) bool {
	return !errors.Is(within(path, func() error { _, err := os.Lstat(path); return err }), fs.ErrNotExist)
}

// within returns what do does, or ErrNoAnswer where that takes too long.
func within(path string, do func() error) error {
	if _, still := hanging.Load(path); still {
		return ErrNoAnswer
	}
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-time.After(timeout):
	}
	hanging.Store(path, true)
	go func() { // until the file system answers
		<-done
		hanging.Delete(path)
	}()
	return ErrNoAnswer
}
