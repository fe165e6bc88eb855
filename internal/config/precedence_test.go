package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// samples returns two texts that s accepts and that are not its default.
func samples(t *testing.T, s Setting) (low, high string) {
	t.Helper()
	byKind := map[string][]string{
		"duration": {"7s", "9s"}, "bool": {"yes", "off"}, "count": {"5000", "6000"}, "list": {"a,b", "c d"}, "mode": {"0600", "0666"},
		"address": {"127.0.0.1:1", "unix:/run/vm.sock"},
	}
	texts := byKind[s.Value]
	switch {
	case s.Key == "store.keep":
		texts = []string{"25h", "48h"}
	case len(s.Choices) > 0:
		texts = s.Choices
	case texts == nil:
		// Texts and secrets take anything; the ambient token file must exist.
		texts = []string{harness.File(t, "low", ""), harness.File(t, "high", "")}
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
				path := harness.File(t, "config.yaml", nested(s.Key, text))
				in.Environ = append(in.Environ, "BUS_VM_CONFIG="+path)
			}})
		}
		if s.Env != "" {
			sources = append(sources, source{"environment " + s.Env, environ(s.Env)})
		}
		if s.Flag != "" {
			sources = append(sources, source{"flag " + s.Flag, func(in *Input, text string) {
				in.Flags = flagsOf(s.Flag + "=" + text)
			}})
		}
		for i, stronger := range sources {
			t.Run(s.Key+" from "+stronger.name, func(t *testing.T) {
				in := Input{}
				if i > 0 {
					sources[i-1].put(&in, low)
				}
				stronger.put(&in, high)
				got, _ := parse(in)
				require.NoError(t, got.origin.found.OrNil())
				if s.Key != "config" {
					got.File = "" // of the case itself
				}
				want, _ := parse(Input{})
				_ = want.origin.merged.Set(s.Key, entry{Key: s.Key, Text: high})
				want.origin.unmarshal(want)
				same(t, got, want)
				if name := got.origin.at(s.Key).Place; !strings.HasPrefix(name, stronger.name) {
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

func TestEmptyValuesCountAsUnset(t *testing.T) {
	path := harness.File(t, "config.yaml", "addr: ''\ntimeout:\nevents:\nstatic: null\nlog: {level: ~}\n")
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

func TestSuggest(t *testing.T) {
	known := []string{"--addr", "--admin-addr", "timeout", "--log-level", "log-format", "BUS_VM_TIMEOUT", "status", "status.max_age", "admin.addr"}
	for name, want := range map[string]string{
		"adr": "--addr", "--addr": "--addr", "Addr": "--addr", "tiemout": "timeout", "log": "--log-level", "log-f": "log-format",
		"BUS_VM_TIMEOT": "BUS_VM_TIMEOUT", "": "", "x": "", "ad": "", "colour": "", "timeouts-of-all": "",
		"max_age": "status.max_age", "jwt.max_age": "status.max_age", "status.maxage": "status.max_age", "admin.adr": "admin.addr", "jwt.adr": "", "stauts": "status", strings.Repeat("a", 1<<20): "",
	} {
		if want != "" {
			want = "; did you mean " + want + "?"
		}
		require.Equal(t, want, Suggest(name, known), name[:min(20, len(name))])
	}
	require.Empty(t, Suggest("addr", nil))
}

func TestTableRowsAreWhole(t *testing.T) {
	keys := map[string]bool{}
	for _, s := range Settings() {
		switch {
		case keys[s.Key]:
			t.Errorf("%s is in the table twice", s.Key)
		case s.Group == "", s.Allowed == "", s.Value == "", !strings.HasSuffix(s.Help, "."):
			t.Errorf("%s lacks a group, a value or a sentence: %+v", s.Key, s)
		case s.Secret && s.Flag != "" && s.Key != "store.url": // refused there if it has a password
			t.Errorf("%s is a secret with a flag", s.Key)
		case s.Flag == "" && s.Env == "":
			t.Errorf("%s can be set in a file only", s.Key)
		}
		if _, ok := s.read(s.Default); !ok {
			t.Errorf("%s refuses its own default %q", s.Key, s.Default)
		}
		keys[s.Key] = true
	}
}
