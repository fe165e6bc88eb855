package fastconn

import (
	"bytes"
	"cmp"
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
	ErrHeaders     = errors.New("too many or too odd header lines")
)

const (
	maxChunkLines = 16 << 10 // bytes of the sizes, extensions and trailers of one body
	// What the lines behind the request line cost, here and in fasthttp, is counted in
	// what a byte of a value does, 0.4 ns. A request may cost extraWork more than its
	// headers may have bytes: with 16 KiB of them 70 lines of 60 bytes, or 20 lines of 800.
	// So it takes a few times what the cheapest refusal does.
	extraWork = 4 << 10
	lineWork  = 160
	nameWork  = 4 // of each byte besides
	whiteWork = 4
	chunkWork = lineWork // of a chunk, and of a trailer besides
	// maxName bounds the name of a header. Of a line that comes in pieces somewhat
	// more is kept, and the end of each piece.
	maxName = 256
	kept    = 2 * maxName
	keptEnd = len("HTTP/1.1\r\n") + 1
)

// framing follows one request.
type framing struct {
	part  part
	head  bool   // the method is HEAD
	bare  bool   // a bare line feed stands before the request line
	line  []byte // what has come of a line without its end
	left  uint64 // bytes of the body, or of a chunk with its line end, from here on
	lines int    // bytes of the lines around chunks
	work  int    // what the lines cost
	most  int    // what they may cost; set by follow
	fault error  // one of the above

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
// follows it, or is at fault. Headers may have so many bytes.
func (f *framing) follow(p []byte, headerBytes int) (n int) {
	f.most = headerBytes + extraWork
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
			piece := line
			if len(f.line) > kept {
				piece = line[max(0, len(line)-keptEnd):]
				f.work += len(line) + whiteWork*white(line)
				if f.fault = f.bounded(); f.fault != nil {
					return 0
				}
			}
			f.line = append(f.line, piece...)
		}
		if feed < 0 {
			f.head = f.head || f.part == requestLine && isHead(f.line)
			return len(p)
		}
		whole := line
		if len(f.line) > 0 {
			whole, f.line = f.line, f.line[:0]
		}
		if f.fault = cmp.Or(f.take(whole), f.bounded()); f.fault != nil {
			if f.fault == ErrHeaders {
				return min(n, 1) // fasthttp need not look at them
			}
			return n + feed // fasthttp waits for the end of the line, and gets the fault
		}
		n += len(line)
	}
	return n
}

// bounded is the fault of a request whose lines cost too much.
func (f *framing) bounded() error {
	switch {
	case f.work <= f.most:
		return nil
	case f.part >= chunks:
		return ErrChunkLines
	}
	return ErrHeaders
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
	if f.part >= chunks {
		f.work += chunkWork
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
	if f.work += lineWork + len(line) + nameWork*len(name) + whiteWork*white(value); len(name) > maxName {
		f.work = f.most + 1
	}
	if bytes.IndexByte(name, ' ') >= 0 {
		return ErrLine // no token (RFC 9110 §5.1)
	}
	switch whole := len(line) <= kept; {
	case f.part == trailers:
	case len(name) == len(contentLength) && bytes.EqualFold(name, contentLength):
		n, err := strconv.ParseUint(string(bytes.Trim(value, " \t")), 10, 63)
		if err != nil || f.length || !whole {
			return ErrLine
		}
		f.size, f.length = n, true
	case len(name) == len(transferEncoding) && bytes.EqualFold(name, transferEncoding):
		if f.chunked = true; !whole || !bytes.EqualFold(bytes.Trim(value, " \t"), []byte("chunked")) {
			return ErrEncoding // identity is gone since RFC 7230
		}
	}
	return nil
}

var contentLength, transferEncoding = []byte("Content-Length"), []byte("Transfer-Encoding")

// white counts the white space of a header (RFC 9110 §5.6.3).
func white(p []byte) int { return bytes.Count(p, []byte{' '}) + bytes.Count(p, []byte{'\t'}) }
