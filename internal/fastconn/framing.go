package fastconn

import (
	"bytes"
	"errors"
	"strconv"
)

// What makes two readers disagree on where a request ends, or what it says.
// fasthttp takes all of these, and keeps no trace of some; a proxy in front may
// read them otherwise, and the difference is a way to smuggle requests (RFC 9112
// §11.2). So a request is followed line by line before fasthttp gets it.
var (
	ErrVersion     = errors.New("a version of HTTP other than 1")
	ErrLine        = errors.New("a line that is not HTTP/1.1")
	ErrFramedTwice = errors.New("both Content-Length and Transfer-Encoding")
	ErrEncoding    = errors.New("a Transfer-Encoding other than chunked")
	ErrChunkLines  = errors.New("too much around the chunks")
)

// maxChunkLines bounds the sizes, extensions and trailers of one body, in bytes.
const maxChunkLines = 16 << 10

// framing follows one request.
type framing struct {
	part  part
	head  bool   // the method is HEAD
	bare  bool   // a bare line feed stands before the request line
	line  []byte // what has come of a line without its end
	left  uint64 // bytes of the body, or of a chunk with its line end, from here on
	lines int    // bytes of the lines around chunks
	fault error  // one of the above

	// How the body is framed.
	size            uint64 // Content-Length
	length, chunked bool   // whether there is one, and a Transfer-Encoding
}

type part uint8

// The parts of a request. All but body and the data of chunks are lines.
const (
	requestLine part = iota
	headers
	chunks
	trailers
	body
	end
)

// follow returns how much of p is of this request and may be read; the rest
// follows it, or is at fault.
func (f *framing) follow(p []byte) (n int) {
	for n < len(p) && f.part != end && f.fault == nil {
		if f.left > 0 {
			passed := min(f.left, uint64(len(p)-n))
			n += int(passed)
			if f.left -= passed; f.left == 0 && f.part == body {
				f.part = end
			}
			continue
		}
		feed := bytes.IndexByte(p[n:], '\n')
		line := p[n:]
		if feed >= 0 {
			line = line[:feed+1]
		}
		if f.part >= chunks {
			if f.lines += len(line); f.lines > maxChunkLines {
				f.fault = ErrChunkLines
				return n
			}
		}
		if len(f.line) > 0 || feed < 0 {
			f.line = append(f.line, line...)
		}
		if feed < 0 {
			f.head = f.head || f.part == requestLine && isHead(f.line)
			return len(p)
		}
		whole := line
		if len(f.line) > 0 {
			whole, f.line = f.line, f.line[:0]
		}
		if f.fault = f.take(whole); f.fault != nil {
			return n + feed // fasthttp waits for the end of the line, and gets the fault
		}
		n += len(line)
	}
	return n
}

func isHead(line []byte) bool { return bytes.HasPrefix(line, []byte("HEAD ")) }

// take looks at a whole line.
func (f *framing) take(line []byte) error {
	line, ended := bytes.CutSuffix(line, []byte("\r\n"))
	if f.part == requestLine {
		switch {
		case len(line) == 0: // an empty line before the request (RFC 9112 §2.2)
		case len(line) == 1 && !ended:
			f.bare = true // told with the request, which there may be none of
		default:
			f.part, f.head = headers, isHead(line)
			version := line[bytes.LastIndexByte(line, ' ')+1:]
			if len(version) == len("HTTP/1.1") && bytes.HasPrefix(version, []byte("HTTP/")) && version[5] != '1' && version[6] == '.' {
				return ErrVersion
			}
			if !ended || f.bare {
				return ErrLine
			}
		}
		return nil
	}
	if !ended {
		return ErrLine // a bare line feed (§2.2)
	}
	switch {
	case f.part == chunks:
		size, _, _ := bytes.Cut(line, []byte{';'})
		n, err := strconv.ParseUint(string(size), 16, 60)
		if err != nil {
			return ErrLine
		}
		if f.left = n + uint64(len("\r\n")); n == 0 {
			f.left, f.part = 0, trailers
		}
	case len(line) > 0:
		return f.field(line)
	case f.part == trailers:
		f.part = end
	case f.chunked && f.length:
		return ErrFramedTwice
	case f.chunked:
		f.part = chunks
	case f.size > 0:
		f.part, f.left = body, f.size
	default:
		f.part = end
	}
	return nil
}

// field looks at a header or trailer line.
func (f *framing) field(line []byte) error {
	if line[0] == ' ' || line[0] == '\t' {
		return ErrLine // a folded line (§5.2)
	}
	name, value, _ := bytes.Cut(line, []byte{':'})
	if bytes.IndexByte(name, ' ') >= 0 {
		return ErrLine // no token (RFC 9110 §5.1)
	}
	switch value = bytes.Trim(value, " \t"); {
	case f.part == trailers:
	case bytes.EqualFold(name, []byte("Content-Length")):
		n, err := strconv.ParseUint(string(value), 10, 63)
		if err != nil || f.length {
			return ErrLine
		}
		f.size, f.length = n, true
	case bytes.EqualFold(name, []byte("Transfer-Encoding")):
		if f.chunked = true; !bytes.EqualFold(value, []byte("chunked")) {
			return ErrEncoding // identity is gone since RFC 7230
		}
	}
	return nil
}
