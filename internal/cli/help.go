package cli

import (
	_ "embed"
	"fmt"
	"io"
	"strings"
)

// document is the OpenCLI document (opencli.org, 0.1) without the version. A test
// writes it from the commands: go test ./internal/cli -update.
//
//go:embed opencli.json
var document string

const (
	summary = "VM API provider: status, start and stop of one runtime behind nginx."
	rules   = `
Flags win over the environment, the environment over the file, the file over defaults.
Booleans are 1 true yes on or 0 false no off; a bare integer as a duration is seconds.
Exit codes: 0 success, 1 failed while running, 2 wrong flags, environment or file.
`
)

// printHelp prints the help of c; that of serving lists the commands as well.
// text/template would add 7 MB to the binary: the linker then keeps every method.
func printHelp(w io.Writer, c command) error {
	about, usages, tail := c.Summary, []command{c}, ""
	var b strings.Builder
	if c.Name == Name {
		about, usages, tail = Name+" — "+summary, commands(), rules
	}
	fmt.Fprintf(&b, "%s\n\nUsage:\n", about)
	for _, each := range usages {
		fmt.Fprintf(&b, "  %s\n", each.Usage)
		if c.Name == Name {
			fmt.Fprintf(&b, "      %s\n", each.Summary)
		}
	}
	b.WriteString("\nExamples:\n")
	for _, e := range c.Examples {
		fmt.Fprintf(&b, "  %s\n      %s\n", e.Command, e.Summary)
	}
	group := ""
	for _, o := range c.Options {
		if o.Group != group {
			group = o.Group
			fmt.Fprintf(&b, "\n%s:\n", group)
		}
		fmt.Fprintf(&b, "%s\n          %s", o.head(), o.Description)
		if o.Default != "" {
			fmt.Fprintf(&b, " Default: %s.", o.Default)
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String()+tail)
	return err
}
