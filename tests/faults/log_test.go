package faults

import (
	"fmt"
	"strings"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// output collects what a gateway writes.
type output struct{ harness.Output }

func (o *output) all() string { return o.Output.String() }

// String is the end of it, for the messages of failed tests.
func (o *output) String() string {
	const bytes = 6000
	text := o.all()
	if len(text) > bytes {
		return fmt.Sprintf("… %d bytes …\n%s", len(text)-bytes, text[len(text)-bytes:])
	}
	return text
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
