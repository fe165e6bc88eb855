package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/nearest"
)

// line is a parsed command line.
type line struct {
	command  command
	flags    *pflag.FlagSet // those of all commands
	operands []string       // behind the command
	wrong    error          // a *config.Error, or nil
}

// parse reads flags in front of the command and behind it alike. Everything
// that is wrong is in the line at once.
func parse(args []string) *line {
	l := &line{command: serveCommand(), flags: allFlags()}
	known, found := l.screen(args)
	if err := l.flags.Parse(known); err != nil {
		found = append(found, describe(err))
		before := args[:len(args)-len(afterDashes(args))] // the rest was not parsed
		for _, name := range []string{"help", "version"} {
			if f := l.flags.Lookup(name); slices.Contains(before, "--"+name) || slices.Contains(before, "-"+f.Shorthand) {
				_ = f.Value.Set("true")
			}
		}
	}
	for i, arg := range l.flags.Args() {
		dashes := l.flags.ArgsLenAtDash()
		if len(arg) > 1 && arg[0] == '-' && (dashes < 0 || i < dashes) {
			found = append(found, l.unknown(arg)) // in a cluster such as -vx
			continue
		}
		l.operands = append(l.operands, arg)
	}
	isCommand := func(name string) bool { _, ok := commandNamed(name); return ok }
	switch at := slices.IndexFunc(l.operands, isCommand); {
	case at == 0 || at > 0 && len(found) > 0: // what is in front may be the value of a mistyped flag, and a secret
		l.command, _ = commandNamed(l.operands[at])
		l.operands = l.operands[at+1:]
	case len(l.operands) > 0 && len(found) == 0:
		found = append(found, unknownCommand(l.operands[0]))
		l.command.run = func(context.Context, *line, Env) error { return l.wrong }
	}
	if extra := l.operands[min(len(l.operands), len(l.command.arguments)):]; l.command.name != Name && len(extra) > 0 && len(found) == 0 {
		found = append(found, config.Problem{Text: fmt.Sprintf("unexpected argument %q", extra[0])})
	}
	if found = append(found, l.checkFlags()...); len(found) > 0 {
		l.wrong = &config.Error{Problems: found}
	}
	return l
}

// screen takes out the flags that do not exist, which pflag would partly take
// for something else: -config is -c, -o nfig to it.
func (l *line) screen(args []string) (known []string, found []config.Problem) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch f := l.flags.Lookup(name); {
		case arg == "--":
			return append(known, args[i:]...), found
		case len(arg) < 2 || arg[0] != '-' || name == "":
		case strings.HasPrefix(arg, "--") && f == nil:
			found = append(found, l.unknown(arg))
			continue
		case arg[1] != '-' && len(name) > 1 && f != nil:
			found = append(found, config.Problem{Text: fmt.Sprintf("flag -%s has one dash; use --%[1]s", name)})
			arg = "-" + arg
		case arg[1] != '-' && l.flags.ShorthandLookup(arg[1:2]) == nil:
			found = append(found, l.unknown(arg))
			continue
		}
		known = append(known, arg)
		if l.wantsNext(arg) && i+1 < len(args) {
			i++
			known = append(known, args[i])
		}
	}
	return known, found
}

// wantsNext reports a flag whose value is the next argument.
func (l *line) wantsNext(arg string) bool {
	if name, long := strings.CutPrefix(arg, "--"); long {
		f := l.flags.Lookup(name)
		return f != nil && f.NoOptDefVal == ""
	}
	for i := 1; i < len(arg) && arg[0] == '-'; i++ {
		if f := l.flags.ShorthandLookup(arg[i : i+1]); f != nil && f.NoOptDefVal == "" {
			return i == len(arg)-1
		}
	}
	return false
}

func afterDashes(args []string) []string {
	if at := slices.Index(args, "--"); at >= 0 {
		return args[at:]
	}
	return nil
}

// unknown words a flag that does not exist, without what may be its value:
// --name=value, -xvalue.
func (l *line) unknown(arg string) config.Problem {
	name, _, _ := strings.Cut(arg, "=")
	near := nearest.Name(strings.TrimLeft(name, "-"), names(l.flags))
	if !strings.HasPrefix(arg, "--") {
		name = arg[:2]
	}
	text := fmt.Sprintf("unknown flag %q", name)
	if near != "" {
		text += "; did you mean --" + near + "?"
	}
	return config.Problem{Text: text}
}

func names(flags *pflag.FlagSet) (names []string) {
	flags.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// describe words pflag's errors without the values that they quote.
func describe(err error) config.Problem {
	text := "the flags cannot be parsed"
	var missing *pflag.ValueRequiredError
	var syntax *pflag.InvalidSyntaxError
	switch {
	case errors.As(err, &missing):
		text = "flag --" + missing.GetFlag().Name + " needs a value"
	case errors.As(err, &syntax):
		name, _, _ := strings.Cut(syntax.GetSpecifiedFlag(), "=")
		text = fmt.Sprintf("bad flag syntax %q", name)
	}
	return config.Problem{Text: text}
}

// checkFlags finds flags of another command, values that are not accepted, and
// flags that want different levels of the log.
func (l *line) checkFlags() (found []config.Problem) {
	var given, levels []string
	l.flags.Visit(func(f *pflag.Flag) {
		text := f.Value.String()
		o, isOption := l.command.option(f.Name)
		switch {
		case !isOption && !l.command.takes(f.Name):
			found = append(found, config.Problem{Key: "--" + f.Name, Text: "is a flag of " + owners(f.Name) + "; not of " + l.command.title()})
		case isOption && o.valueName == "" && text != "true":
			found = append(found, config.Problem{Text: "flag --" + f.Name + " takes no value"})
		case len(o.words()) > 1 && !slices.Contains(o.words(), text):
			found = append(found, config.Problem{Key: "--" + f.Name, Text: fmt.Sprintf("%q is not accepted; want %s", text, strings.Join(o.words(), ", "))})
		}
		if f.Name == "log-level" || o.level != "" {
			given = append(given, "--"+f.Name)
			levels = append(levels, cmp.Or(o.level, text))
		}
	})
	if slices.Sort(levels); len(slices.Compact(levels)) > 1 {
		found = append(found, config.Problem{Key: "log.level", Source: "flags " + strings.Join(given, ", "), Text: "want at most one of them"})
	}
	return found
}

// text is the value of an option, its default included.
func (l *line) text(name string) string { return l.flags.Lookup(name).Value.String() }

// on reports a flag without a value that was given.
func (l *line) on(name string) bool { return l.text(name) == "true" }

// input is what the settings are read from.
func (l *line) input(env Env) config.Input { return config.Input{Flags: l.flags, Environ: env.Environ} }

// allFlags returns the flags of all commands, as texts. A flag that stands for
// a level of the log says so to config.
func allFlags() *pflag.FlagSet {
	flags := pflag.NewFlagSet(Name, pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.ParseErrorsAllowlist.UnknownFlagsHandling = pflag.PassUnknownFlagToArgs
	add := func(name, short, fallback, help string, isSwitch bool) *pflag.Flag {
		if flags.Lookup(name) == nil {
			flags.StringP(name, short, fallback, help)
		}
		f := flags.Lookup(name)
		if isSwitch {
			f.NoOptDefVal = "true"
		}
		return f
	}
	for _, s := range config.Settings() {
		if s.Flag != "" {
			add(s.Flag, "", "", s.Help, s.Value == "bool")
		}
	}
	for _, c := range commands() {
		for _, o := range slices.Concat(c.options, c.globalOptions()) {
			if f := add(o.flag, o.short, o.fallback, o.usage, o.valueName == ""); o.level != "" {
				f.Annotations = map[string][]string{config.Sets: {"log-level", o.level}}
			}
		}
	}
	return flags
}
