package config

import (
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// NewFlagSet returns a flag set with the flags of the settings whose key
// passes keep. Values are taken as they are; Load parses them.
func NewFlagSet(name string, keep func(key string) bool) *pflag.FlagSet {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	// Unknown flags end up among the arguments, so that ParseFlags can report
	// all of them instead of the first.
	flags.ParseErrorsAllowlist.UnknownFlagsHandling = pflag.PassUnknownFlagToArgs
	for _, s := range Settings() {
		if s.Flag == "" || !keep(s.Key) {
			continue
		}
		f := flags.VarPF(&flagText{kind: s.ValueName()}, s.Flag, "", s.Usage)
		if s.Key == keyDev {
			f.NoOptDefVal = "true"
		}
		for _, p := range s.Presets {
			flags.VarPF(&flagText{kind: "bool"}, p.Flag, p.Short, p.Usage).NoOptDefVal = presetOn
		}
	}
	return flags
}

// presetOn is the text of a preset that was given without a value.
const presetOn = "true"

// AllFlags is a keep for NewFlagSet.
func AllFlags(string) bool { return true }

// flagText is a flag's value, unparsed.
type flagText struct{ text, kind string }

func (f *flagText) String() string        { return f.text }
func (f *flagText) Set(text string) error { f.text = text; return nil }
func (f *flagText) Type() string          { return f.kind }

// ParseFlags parses args and returns an *Error for unknown flags, missing
// values and positional arguments. Texts that may be the value of a mistyped
// flag, and so a secret, are not repeated.
func ParseFlags(flags *pflag.FlagSet, args []string) error {
	var found problems
	if err := flags.Parse(args); err != nil {
		found.add("", "", "%s", describe(err))
		return found.err()
	}
	unknown := false
	for _, arg := range flags.Args() {
		if strings.HasPrefix(arg, "-") && arg != "-" {
			found.add("", "", "unknown flag %s", flagName(arg))
			unknown = true
		}
	}
	// pflag drops what looks like a flag of a Go test binary without a word.
	if slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "-test.") }) {
		found.add("", "", "unknown flag %s", quote("-test"))
		unknown = true
	}
	if !unknown && flags.NArg() > 0 {
		found.add("", "", "unexpected argument %s", quote(flags.Arg(0)))
	}
	return found.err()
}

// flagName cuts off what may be a value: --name=value, -xvalue.
func flagName(arg string) string {
	if !strings.HasPrefix(arg, "--") {
		return quote(arg[:2])
	}
	name, _, _ := strings.Cut(arg, "=")
	return quote(name)
}

// describe words pflag's errors without the values that they quote.
func describe(err error) string {
	var missing *pflag.ValueRequiredError
	if errors.As(err, &missing) {
		return "flag --" + missing.GetFlag().Name + " needs a value"
	}
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return "flag --" + invalid.GetFlag().Name + " takes no value"
	}
	var syntax *pflag.InvalidSyntaxError
	if errors.As(err, &syntax) {
		return "bad flag syntax " + flagName(syntax.GetSpecifiedFlag())
	}
	return "the flags cannot be parsed"
}

// readFlag gives the key of a setting and the text that f sets it to; an empty
// key for a flag that sets nothing.
func readFlag(table []Setting, f *pflag.Flag) (key, text string) {
	for _, s := range table {
		if s.Flag == f.Name {
			return s.Key, f.Value.String()
		}
		for _, p := range s.Presets {
			if p.Flag == f.Name && f.Value.String() == presetOn {
				return s.Key, p.Value
			}
		}
	}
	return "", ""
}

// checkPresets finds what readFlag cannot report: a preset with a value, and
// several flags for one setting.
func checkPresets(table []Setting, flags *pflag.FlagSet, found *problems) {
	for _, s := range table {
		var given []string
		for _, p := range s.Presets {
			if f := flags.Lookup(p.Flag); f != nil && f.Changed {
				given = append(given, "--"+p.Flag)
				if f.Value.String() != presetOn {
					found.add(s.Key, "flag --"+p.Flag, "takes no value")
				}
			}
		}
		if f := flags.Lookup(s.Flag); f != nil && f.Changed {
			given = append(given, "--"+s.Flag)
		}
		if len(s.Presets) > 0 && len(given) > 1 {
			found.add(s.Key, "flags "+strings.Join(given, ", "), "want at most one of them")
		}
	}
}
