package jwks

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// ReadFile reads the set in the file at path. Its errors do not name the file.
func ReadFile(path string) (*Set, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer file.Close()
	document, err := readBounded(file)
	if err != nil {
		return nil, withoutPath(err)
	}
	return Parse(document)
}

// readBounded reads a document and one byte more at most, which Parse refuses.
func readBounded(r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, maxDocument+1)) }

func withoutPath(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
