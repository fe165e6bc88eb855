package config

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// samples returns two texts that s accepts and that are not its default.
func samples(t *testing.T, s Setting) (low, high string) {
	t.Helper()
	byKind := map[string][]string{
		"duration": {"7s", "9s"}, "bool": {"yes", "off"}, "count": {"5000", "6000"}, "mode": {"0600", "0666"},
		"address": {"127.0.0.1:1", "unix:/run/vm.sock"}, "json": {`{"a":1}`, `{"b":2}`},
	}
	texts := byKind[s.ValueName()]
	switch {
	case s.Choices() != nil:
		texts = s.Choices()
	case texts == nil:
		// Texts and secrets take anything; the ambient token file must exist.
		texts = []string{writeFile(t, "low", ""), writeFile(t, "high", "")}
	}
	return texts[0], texts[1]
}

// TestPrecedence puts each setting into two neighbouring sources: the stronger
// one must win and be named.
func TestPrecedence(t *testing.T) {
	for _, s := range Settings() {
		low, high := samples(t, s)
		type source struct {
			name string
			put  func(in *Input, text string)
		}
		var sources []source
		environ := func(name string) func(*Input, string) {
			return func(in *Input, text string) { in.Environ = append(in.Environ, name+"="+text) }
		}
		if s.Ambient != "" {
			sources = append(sources, source{"environment " + s.Ambient, environ(s.Ambient)})
		}
		if !s.NotInFile {
			sources = append(sources, source{"file", func(in *Input, text string) {
				path := writeFile(t, "config.yaml", nested(s.Key, text))
				in.Environ = append(in.Environ, "BUS_VM_CONFIG="+path)
			}})
		}
		if s.Env != "" {
			sources = append(sources, source{"environment " + s.Env, environ(s.Env)})
		}
		if s.Flag != "" {
			sources = append(sources, source{"flag --" + s.Flag, func(in *Input, text string) {
				in.Flags = flagsOf(t, "--"+s.Flag+"="+text)
			}})
		}
		for i, stronger := range sources {
			t.Run(s.Key+" from "+stronger.name, func(t *testing.T) {
				in := Input{}
				if i > 0 {
					sources[i-1].put(&in, low)
				}
				stronger.put(&in, high)
				got, found, _ := parse(in, AllFlags)
				if err := found.err(); err != nil {
					t.Fatal(err)
				}
				if s.Key != keyConfig {
					got.File = "" // of the case itself
				}
				want, _, _ := parse(Input{}, AllFlags)
				s.kind.set(want, high)
				same(t, got, want)
				if name := got.origin.values.source(s.Key).String(); !strings.HasPrefix(name, stronger.name) {
					t.Errorf("the source is called %q, want %q", name, stronger.name)
				}
			})
		}
	}
}

// nested writes `a.b: text` as YAML.
func nested(key, text string) string {
	section, name, found := strings.Cut(key, ".")
	if !found {
		return key + ": '" + text + "'\n"
	}
	return section + ":\n  " + name + ": '" + text + "'\n"
}

func TestPresetFlagsSetTheLevel(t *testing.T) {
	for _, tc := range []struct{ arg, level string }{{"-v", "DEBUG"}, {"--verbose", "DEBUG"}, {"--quiet", "ERROR"}} {
		in := Input{Flags: flagsOf(t, tc.arg), Environ: withSecret("BUS_VM_LOG_LEVEL=warn")}
		if got := loaded(t, in).Log.Level.String(); got != tc.level {
			t.Errorf("%s: the level is %s, want %s", tc.arg, got, tc.level)
		}
	}
}

func TestEmptyValuesCountAsUnset(t *testing.T) {
	path := writeFile(t, "config.yaml", "addr: ''\ntimeout:\nevents:\nstatic: null\nlog: {level: ~}\n")
	var environ []string
	for _, s := range Settings() {
		if s.Env != "" && s.Env != "BUS_VM_CONFIG" {
			environ = append(environ, s.Env+"=")
		}
	}
	got := loaded(t, Input{Environ: append(environ, "BUS_API_JWT_SECRET="+testSecret, "BUS_VM_CONFIG="+path)})
	want := loaded(t, Input{Environ: withSecret()})
	want.File = path
	same(t, got, want)
}

func TestUnchangedFlagsSetNothing(t *testing.T) {
	flags := NewFlagSet("test", AllFlags)
	if err := ParseFlags(flags, nil); err != nil {
		t.Fatal(err)
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			t.Errorf("--%s counts as given", f.Name)
		}
	})
	got := loaded(t, Input{Flags: flags, Environ: withSecret("BUS_VM_ADDR=127.0.0.1:1")})
	if got.Addr != "127.0.0.1:1" {
		t.Errorf("the address is %s", got.Addr)
	}
}
