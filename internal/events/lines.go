package events

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// lineBuffer is read from the network at a time; a longer line is gathered in
// a buffer that is let go afterwards.
const lineBuffer = 32 << 10

// errLineTooLong reports a line that was skipped; the next call goes on after it.
var errLineTooLong = errors.New("line too long")

// lineReader cuts NDJSON into lines of at most limit bytes, CR LF and white
// space around a line not counted among its text.
type lineReader struct {
	in    *bufio.Reader
	limit int
}

func newLineReader(in io.Reader, limit int) *lineReader {
	return &lineReader{in: bufio.NewReaderSize(in, lineBuffer), limit: limit}
}

// next returns the next line that is not blank, valid until the next call. A
// last line that has no end is returned with the error that cut it, which for
// an orderly end is io.EOF.
func (r *lineReader) next() ([]byte, error) {
	for {
		line, err := r.raw()
		if line = bytes.TrimSpace(line); len(line) > 0 || err != nil {
			return line, err
		}
	}
}

// raw returns the next line with its end.
func (r *lineReader) raw() ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line, err = r.gather(line)
	}
	if err == nil && len(bytes.TrimRight(line, "\r\n")) > r.limit {
		return nil, errLineTooLong
	}
	return line, err
}

// gather reads on to the end of a line that begins with first.
func (r *lineReader) gather(first []byte) ([]byte, error) {
	line := bytes.Clone(first)
	for {
		part, err := r.in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case !errors.Is(err, bufio.ErrBufferFull):
			return line, err
		case len(line) > r.limit:
			return nil, r.skip()
		}
	}
}

// skip reads on to the end of an overlong line.
func (r *lineReader) skip() error {
	for {
		_, err := r.in.ReadSlice('\n')
		if err == nil {
			return errLineTooLong
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}
