package faults

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// output collects what a gateway writes, and wakes who waits for a part of it.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	written chan struct{} // closed and replaced by each write
}

func newOutput() *output { return &output{written: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.written)
	o.written = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) all() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// String is the end of it, for the messages of failed tests.
func (o *output) String() string {
	const bytes = 6000
	text := o.all()
	if len(text) > bytes {
		return fmt.Sprintf("… %d bytes …\n%s", len(text)-bytes, text[len(text)-bytes:])
	}
	return text
}

// await returns the submatches of the first match, nil when ctx or gone ends
// before there is one.
func (o *output) await(ctx context.Context, gone <-chan struct{}, pattern *regexp.Regexp) []string {
	for ended := false; ; {
		o.mu.Lock()
		match, written := pattern.FindStringSubmatch(o.text.String()), o.written
		o.mu.Unlock()
		if match != nil || ended {
			return match
		}
		select {
		case <-written:
		case <-gone:
			ended = true // look once more: its last words count
		case <-ctx.Done():
			return nil
		}
	}
}

// lastWords are the lines that are no log records: what the command itself
// says when it ends.
func (o *output) lastWords() (lines []string) {
	for line := range strings.Lines(o.all()) {
		if !strings.HasPrefix(line, "time=") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// tokenLike is two parts of a token joined by a dot, or the beginning of one.
var tokenLike = regexp.MustCompile(`\b[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}\b|\beyJ[A-Za-z0-9_-]{8,}`)

// leaks says what stands in the log and must not, without repeating it. Tokens are
// told by their looks.
func (o *output) leaks() (found []string) {
	text := o.all()
	for i, secret := range []string{eventsSecret, callerSecret} {
		if strings.Contains(text, secret) {
			found = append(found, fmt.Sprintf("secret %d is in the log", i))
		}
	}
	for line := range strings.Lines(text) {
		switch {
		case tokenLike.MatchString(line):
			found = append(found, "a token is in the log: "+tokenLike.ReplaceAllString(line, "…"))
		case strings.Contains(line, "DATA RACE"), strings.Contains(line, "panic"), strings.Contains(line, "BUG:"):
			found = append(found, "in the log: "+line)
		}
	}
	return found
}
