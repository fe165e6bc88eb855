package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// logs are the logs of all processes, and what must not stand in them.
type logs struct {
	mu      sync.Mutex
	outputs []*harness.Output
	secrets []string
}

// watch adds an output to what is searched at the end.
func (l *logs) watch(o *harness.Output) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outputs = append(l.outputs, o)
}

// keepOut names a text that must not be logged.
func (l *logs) keepOut(text string) {
	// Shorter ones, such as the token "x", stand everywhere by chance.
	const telling = 8
	if len(text) < telling {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.secrets = append(l.secrets, text)
}

// jwtLike is two parts of a token joined by a dot, from any issuer. Nothing
// else in the logs has two such words.
var jwtLike = regexp.MustCompile(`\b[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}\b|\beyJ[A-Za-z0-9_-]{8,}`)

// leaks says what was found, without repeating it.
func (l *logs) leaks() (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.outputs {
		text := o.String()
		for i, secret := range l.secrets {
			if at := strings.Index(text, secret); at >= 0 {
				found = append(found, fmt.Sprintf("secret %d in: %s", i, lineAt(text, at, secret)))
			}
		}
		if match := jwtLike.FindStringIndex(text); match != nil {
			found = append(found, "a token in: "+lineAt(text, match[0], text[match[0]:match[1]]))
		}
		if at := strings.Index(text, "DATA RACE"); at >= 0 {
			found = append(found, "a data race:\n"+text[at:])
		}
		if at := strings.Index(text, "panic"); at >= 0 {
			found = append(found, "a panic:\n"+text[at:])
		}
	}
	return found
}

// lineAt is the line of text at an offset, with hidden left out.
func lineAt(text string, at int, hidden string) string {
	start := strings.LastIndexByte(text[:at], '\n') + 1
	line, _, _ := strings.Cut(text[start:], "\n")
	return strings.ReplaceAll(line, hidden, "…")
}
