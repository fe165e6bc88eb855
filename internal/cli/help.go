package cli

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/busdk/bus-api-provider-vm/internal/config"
)

const summary = "VM API provider: status, start and stop of one runtime behind nginx."

// printHelp prints the help of c; that of serving lists the commands as well.
func printHelp(w io.Writer, c command) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nUsage:\n", cmp.Or(topSummary(c), c.summary))
	if c.name == Name {
		for _, each := range commands() {
			fmt.Fprintf(&b, "  %s\n      %s\n", each.usage, each.summary)
		}
	} else {
		fmt.Fprintf(&b, "  %s\n", c.usage)
	}
	b.WriteString("\nExamples:\n")
	for _, e := range c.examples {
		fmt.Fprintf(&b, "  %s\n      %s\n", e.Command, e.Summary)
	}
	writeSettings(&b, c.settings())
	writeOptions(&b, groupCommand, c.options)
	writeOptions(&b, groupGlobal, c.globalOptions())
	if c.name == Name {
		b.WriteString(helpTail)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func topSummary(c command) string {
	if c.name != Name {
		return ""
	}
	return Name + " — " + summary
}

const helpTail = `
Flags win over the environment, the environment over the file, the file over defaults.
Booleans are 1 true yes on or 0 false no off; a bare integer as a duration is seconds.
Exit codes: 0 success, 1 failed while running, 2 wrong flags, environment or file.
`

// The groups of options that are no settings.
const (
	groupCommand = "This command"
	groupGlobal  = "Every command"
)

// writeSettings writes the settings by group, those without a flag by their
// environment name.
func writeSettings(b *strings.Builder, settings []config.Setting) {
	group := ""
	for _, s := range settings {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(b, "\n%s:\n", group)
		}
		switch {
		case s.Flag == "":
			writeEntry(b, "      "+s.Env+"="+placeholder(s.Value), "", s.Help, s.Default)
		case valueName(s) == "":
			writeEntry(b, flagHead(s.Flag, "", ""), s.Env, s.Help, "")
		default:
			writeEntry(b, flagHead(s.Flag, "", s.Value), s.Env, s.Help, s.Default)
		}
	}
}

func writeOptions(b *strings.Builder, group string, options []option) {
	if len(options) > 0 {
		fmt.Fprintf(b, "\n%s:\n", group)
	}
	for _, o := range options {
		writeEntry(b, flagHead(o.flag, o.short, o.valueName), "", o.usage, o.fallback)
	}
}

// valueName is what a flag wants after it; --dev wants nothing.
func valueName(s config.Setting) string {
	if s.Value == "bool" {
		return ""
	}
	return s.Value
}

func placeholder(name string) string {
	if strings.Contains(name, "|") {
		return name
	}
	return "<" + name + ">"
}

// flagHead aligns long flags whether or not there is a short one.
func flagHead(flag, short, value string) string {
	head := "      --" + flag
	if short != "" {
		head = "  -" + short + ", --" + flag
	}
	if value != "" {
		head += " " + placeholder(value)
	}
	return head
}

// envColumn is where environment names begin.
const envColumn = 42

// writeEntry writes one flag or name, and below it what it does.
func writeEntry(b *strings.Builder, head, env, usage, fallback string) {
	if env != "" {
		head = fmt.Sprintf("%-*s %s", envColumn, head, env)
	}
	if fallback != "" {
		usage += " Default: " + fallback + "."
	}
	fmt.Fprintf(b, "%s\n          %s\n", head, usage)
}
