package cli

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/busdk/bus-api-provider-vm/internal/config"
)

// line is a parsed command line.
type line struct {
	command  command
	known    map[string]option // the flags of all commands, by each of their names
	given    map[string]string // texts of flags by name, with its dashes
	operands []string          // behind the command
	wrong    config.Error
}

// parse reads flags in front of the command and behind it alike. Everything
// that is wrong is in the line at once, without the values of unknown flags,
// which may be secrets. The parsers of flag and pflag end at the first mistake,
// quote values, and take -config for -c onfig, or for --config.
func parse(args []string) *line {
	l := &line{command: commands()[0], known: map[string]option{}, given: map[string]string{}}
	for _, c := range commands() {
		for _, o := range c.Options {
			for _, name := range append(o.Aliases, o.Name) {
				l.known[name] = o
			}
		}
	}
	for len(args) > 0 && args[0] != "--" {
		if arg := args[0]; len(arg) > 1 && arg[0] == '-' {
			args = l.readFlag(arg, args[1:])
		} else {
			l.operands, args = append(l.operands, arg), args[1:]
		}
	}
	l.operands = append(l.operands, args[min(len(args), 1):]...) // what follows -- is no flag
	// A wrong command line still belongs to a command, whose help is pointed at.
	var names []string
	for _, c := range commands()[1:] {
		names = append(names, c.Name)
	}
	switch at := slices.IndexFunc(l.operands, func(word string) bool { return slices.Contains(names, word) }); {
	case at == 0 || at > 0 && len(l.wrong.Problems) > 0: // what is in front may be the value of a mistyped flag, and a secret
		l.command = commands()[1+slices.Index(names, l.operands[at])]
		l.operands = l.operands[at+1:]
	case len(l.operands) > 0 && len(l.wrong.Problems) == 0:
		l.wrong.Add("", "", "unknown command %q%s", l.operands[0],
			cmp.Or(config.Suggest(l.operands[0], names), "; the commands are "+strings.Join(names, ", ")))
		l.command.keep = nil // what the settings say does not matter
	}
	if extra := l.operands[min(len(l.operands), len(l.command.Operands)):]; len(extra) > 0 && len(l.wrong.Problems) == 0 {
		l.wrong.Add("", "", "unexpected argument %q", extra[0])
	}
	l.checkFlags()
	return l
}

// readFlag reads an argument that begins with a dash, and its value from rest
// where it wants one. It returns what is left.
func (l *line) readFlag(arg string, rest []string) []string {
	name, text, valued := strings.Cut(arg, "=")
	typed := name
	switch _, long := l.known["-"+name]; { // as if it had two dashes
	case strings.Trim(name, "-") == "":
		l.wrong.Add("", "", "bad flag syntax %q", name)
		return rest
	case long && len(name) > 2:
		l.wrong.Add("", "", "flag %s has one dash; use -%[1]s", name)
		name = "-" + name
	case name[1] != '-': // one of several, such as -vo file, or with its value, such as -ofile
		name, text, valued = arg[:2], strings.TrimPrefix(arg[2:], "="), len(arg) > 2
		if o, known := l.known[name]; known && o.ValueName == "" && valued && arg[2] != '=' {
			l.given[o.Name] = "true"
			return l.readFlag("-"+text, rest)
		}
	}
	o, known := l.known[name]
	switch {
	case !known:
		l.wrong.Add("", "", "unknown flag %q%s", name, config.Suggest(typed, slices.Sorted(maps.Keys(l.known))))
	case valued:
		l.given[o.Name] = text
	case o.ValueName == "":
		l.given[o.Name] = "true"
	case len(rest) == 0:
		l.wrong.Add("", "", "flag %s needs a value", o.Name)
	default:
		l.given[o.Name] = rest[0]
		return rest[1:]
	}
	return rest
}

// checkFlags finds flags of another command, values that are not accepted, and
// flags that want different levels of the log.
func (l *line) checkFlags() {
	var flags, levels []string
	for _, name := range slices.Sorted(maps.Keys(l.given)) {
		text := l.given[name]
		o, taken := l.command.option(name)
		switch {
		case !taken:
			l.wrong.Add(name, "", "is a flag of %s; not of %s", owners(name), l.command.title())
		case o.setting.Key != "": // config reads it
		case o.ValueName == "" && text != "true":
			l.wrong.Add("", "", "flag %s takes no value", name)
		case strings.Contains(o.ValueName, "|") && !slices.Contains(strings.Split(o.ValueName, "|"), text):
			l.wrong.Add(name, "", "%q is not accepted; want %s", text, strings.ReplaceAll(o.ValueName, "|", ", "))
		}
		if name == "--log-level" || o.level != "" {
			flags, levels = append(flags, name), append(levels, cmp.Or(o.level, text))
		}
	}
	if slices.Sort(levels); len(slices.Compact(levels)) > 1 {
		l.wrong.Add("log.level", "flags "+strings.Join(flags, ", "), "want at most one of them")
	}
}

// owners lists the commands that take a flag.
func owners(flag string) string {
	var names []string
	for _, c := range commands() {
		if _, takes := c.option(flag); takes {
			names = append(names, c.title())
		}
	}
	return strings.Join(names, ", ")
}

// text is the value of an option of the command, its default included.
func (l *line) text(name string) string {
	if text, ok := l.given[name]; ok {
		return text
	}
	o, _ := l.command.option(name)
	return o.Default
}

// on reports a flag without a value that was given.
func (l *line) on(name string) bool { return l.given[name] == "true" }

// input is what the settings are read from. Of a flag that stands for a level
// of the log, messages and printed settings name what was typed.
func (l *line) input(env Env) config.Input {
	flags := map[string]config.Flag{}
	for _, name := range slices.Sorted(maps.Keys(l.given)) {
		flag := config.Flag{Text: l.given[name], Place: "flag " + name}
		if level := l.known[name].level; level != "" {
			name, flag.Text = "--log-level", level
		}
		flags[name] = flag
	}
	return config.Input{Flags: flags, Environ: env.Environ, Wrong: l.wrong}
}
