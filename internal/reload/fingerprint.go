package reload

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxLook bounds how much of a file is compared, in bytes. All of them are
// bounded far below by their readers.
const maxLook = 1 << 20

// fingerprint is a fingerprint of files: their paths and contents.
type fingerprint [sha256.Size]byte

// look takes the fingerprint of the files at paths. That a file cannot be read
// is a state like any other, so its coming and going are changes.
func look(paths []string) fingerprint {
	digest := sha256.New()
	for _, path := range paths {
		if path == "" {
			continue
		}
		content := sha256.New()
		err := read(content, path)
		fmt.Fprintf(digest, "%q %x %v\n", path, content.Sum(nil), err)
	}
	return fingerprint(digest.Sum(nil))
}

var errNotRegular = errors.New("not a regular file")

// read copies a file to w. Others than regular ones, such as the pipe of a
// shell, can be read once only and are left alone.
func read(w io.Writer, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errNotRegular
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(w, io.LimitReader(file, maxLook))
	return err
}
