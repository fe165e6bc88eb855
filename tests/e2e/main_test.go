// Package e2e drives the built binary from outside, as operators and callers
// do: flags, environment and files, sockets and raw bytes, signals, nginx.
//
// Everything runs at debug level, and at the end all that was logged is
// searched for the secrets and tokens that were used.
//
//	E2E_RACE=1   build the binary with the race detector
//	CI=true      a missing program (nginx, curl, prometheus, promtool, strace, chromium, python3, node) is a failure instead of a skip
package e2e

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// moduleRoot is where the repository's files are.
const moduleRoot = "../.."

// logged is what all processes logged.
var logged logs

func TestMain(m *testing.M) {
	logged.keepOut(jwtSecret)
	logged.keepOut(providerToken)
	harness.Main(m, 6, func() error {
		if found := logged.leaks(); len(found) > 0 {
			return errors.New("in a log: " + strings.Join(found, "\nin a log: "))
		}
		return nil
	})
}

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

// leaks says what was found, without repeating it.
func (l *logs) leaks() (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.outputs {
		found = append(found, harness.Leaks(o.String(), l.secrets...)...)
	}
	return found
}
