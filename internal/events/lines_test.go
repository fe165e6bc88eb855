package events

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
)

// readLines returns all lines, "…" for each one that was too long, and the
// error that ended them.
func readLines(in io.Reader, limit int) (lines []string, _ error) {
	r := bufio.NewReaderSize(in, lineBuffer)
	for {
		line, err := nextLine(r, limit)
		if errors.Is(err, errLineTooLong) {
			lines = append(lines, "…")
			continue
		}
		if len(line) > 0 {
			lines = append(lines, string(line))
		}
		if err != nil {
			return lines, err
		}
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", 3*lineBuffer)
	f := func(in string, limit int, want ...string) {
		t.Helper()
		got, err := readLines(strings.NewReader(in), limit)
		if err != io.EOF || !slices.Equal(got, want) {
			t.Errorf("%.20q, limit %d: %.20q, %v; want %.20q", in, limit, got, err, want)
		}
	}
	f("", 9)
	f("a\nb\n", 9, "a", "b")
	f("a\r\n\r\n \t\n\nb\r\n", 9, "a", "b")
	f("a\nlast", 9, "a", "last")
	f("123456789\n", 9, "123456789")
	f("123456789\r\nb\n", 9, "123456789", "b")
	f("1234567890\nb\n", 9, "…", "b")
	f(long+"\nb\n", len(long), long, "b")
	f(long+"\r\nb\n", len(long), long, "b")
	f(long+"x\nb\n", len(long), "…", "b")
	f(long+"\nb\n"+long+"\nc", 2*lineBuffer, "…", "b", "…", "c")
	f(long+long, 2*lineBuffer) // cut inside a line too long
}

func TestALineThatIsTooLongIsNotKept(t *testing.T) {
	part := strings.Repeat("x", 64<<10)
	var parts []io.Reader
	for range 1000 {
		parts = append(parts, strings.NewReader(part))
	}
	in := bufio.NewReaderSize(io.MultiReader(append(parts, strings.NewReader("\n"))...), lineBuffer)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := nextLine(in, 2*lineBuffer)
	runtime.ReadMemStats(&after)
	assert.Equal(t, errLineTooLong, err)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), "bytes taken")
}

func TestALineThatIsCutComesWithItsCause(t *testing.T) {
	broken := errors.New("broken")
	got, err := readLines(io.MultiReader(strings.NewReader("a\n{\"na"), iotest.ErrReader(broken)), 99)
	assert.Equal(t, broken, err)
	assert.Equal(t, []string{"a", `{"na`}, got)
}

// FuzzLines compares with splitting the whole input at once, and holds the
// decoder to its word that what it returns is bounded and well-formed.
func FuzzLines(f *testing.F) {
	f.Add([]byte("{\"name\":\"n\",\"correlationId\":\"c\",\"payload\":{}}\r\n\n{\"x\"\n"), uint8(40))
	f.Add([]byte("\r\r\n \n{\"correlation_id\":\"c\",\"error\":\"boom\"}"), uint8(200))
	f.Fuzz(func(t *testing.T, in []byte, limit uint8) {
		var want []string
		lines := bytes.SplitAfter(in, []byte{'\n'})
		for _, line := range lines {
			ended := bytes.HasSuffix(line, []byte{'\n'})
			if len(bytes.TrimRight(line, "\r\n")) > int(limit) {
				if ended {
					want = append(want, "…")
				}
			} else if line = bytes.TrimSpace(line); len(line) > 0 {
				want = append(want, string(line))
			}
		}
		got, err := readLines(iotest.HalfReader(bytes.NewReader(in)), int(limit))
		if err != io.EOF || !slices.Equal(got, want) {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
		for _, line := range got {
			e, ok := decode([]byte(line))
			if ok && e.Name == "" && e.CorrelationID == "" {
				t.Fatalf("%q is no envelope", line)
			}
			var remote *RemoteError
			if err := e.Err(); err != nil && (!errors.As(err, &remote) || remote.Type == "" || remote.Message == "" ||
				len(remote.Type) > maxType || len(remote.Message) > maxMessage) {
				t.Fatalf("%q has the error %#v", line, err)
			}
		}
	})
}
