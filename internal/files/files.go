// Package files reads the files that settings name: small and regular, within a
// deadline.
package files

import (
	"cmp"
	"errors"
	"fmt"
	"io"
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

// Read returns at most limit bytes of the regular file at path.
func Read(path string, limit int64) ([]byte, error) {
	if _, still := hanging.Load(path); still {
		return nil, ErrNoAnswer
	}
	var content []byte
	done := make(chan error, 1)
	go func() {
		var err error
		content, err = read(path, limit)
		done <- err
	}()
	select {
	case err := <-done:
		return content, err
	case <-time.After(timeout):
	}
	hanging.Store(path, true)
	go func() { // until the file system answers
		<-done
		hanging.Delete(path)
	}()
	return nil, ErrNoAnswer
}

func read(path string, limit int64) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // which waits for no writer of a pipe
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, errNotRegular)
	}
	return io.ReadAll(io.LimitReader(file, limit))
}
