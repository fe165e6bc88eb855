package cli

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/version"
)

const summary = "VM API provider: status, start and stop of one runtime behind nginx."

// runHelp answers from what is compiled in, so that it works in any
// environment.
func runHelp(args []string, env Env) error {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return runHelpAbout(args, env)
	}
	flags := newFlagSet(helpCommand())
	if err := config.ParseFlags(flags, args); err != nil {
		return err
	}
	if isSet(flags, "help") {
		return printHelp(env.Stdout, helpCommand())
	}
	switch format := flags.Lookup("format").Value.String(); format {
	case "text":
		return printHelp(env.Stdout, serveCommand())
	case "json", "opencli":
		return printOpenCLI(env.Stdout, version.String())
	default:
		return config.Refuse("--format", fmt.Sprintf("%q is not accepted; want text, json or opencli", format))
	}
}

// runHelpAbout prints the help of one command.
func runHelpAbout(args []string, env Env) error {
	c, known := commandNamed(args[0])
	switch {
	case !known:
		return unknownCommand(args[0])
	case len(args) > 1:
		return config.Refuse("", fmt.Sprintf("unexpected argument %q", args[1]))
	}
	return printHelp(env.Stdout, c)
}

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
	for _, group := range config.Groups() {
		writeGroup(&b, group, c.settings())
	}
	fmt.Fprintf(&b, "\n%s:\n", groupCommand)
	for _, o := range c.options {
		writeEntry(&b, flagHead(o.flag, o.short, o.valueName), "", o.usage, o.fallback)
	}
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

// writeGroup writes the settings of one group, those without a flag by their
// environment name.
func writeGroup(b *strings.Builder, group config.Group, settings []config.Setting) {
	headed := false
	for _, s := range settings {
		if s.Group != group {
			continue
		}
		if !headed {
			fmt.Fprintf(b, "\n%s:\n", group)
			headed = true
		}
		if s.Flag == "" {
			writeEntry(b, "      "+s.Env+"="+placeholder(s.ValueName()), "", s.Usage, s.Default)
			continue
		}
		fallback := s.Default
		if valueName(s) == "" {
			fallback = ""
		}
		writeEntry(b, flagHead(s.Flag, "", valueName(s)), s.Env, s.Usage, fallback)
		for _, p := range s.Presets {
			writeEntry(b, flagHead(p.Flag, p.Short, ""), "", p.Usage, "")
		}
	}
}

// valueName is what a flag wants after it; --dev wants nothing.
func valueName(s config.Setting) string {
	if s.ValueName() == "bool" {
		return ""
	}
	return s.ValueName()
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
