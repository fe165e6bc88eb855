package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTableNamesEverySettingOnce(t *testing.T) {
	seen := map[string]bool{}
	once := func(name string) {
		if seen[name] {
			t.Errorf("%s stands twice in the table", name)
		}
		seen[name] = true
	}
	for _, s := range Settings() {
		once("key " + s.Key)
		for _, name := range []string{s.Env, s.Ambient} {
			if name != "" {
				once("environment " + name)
			}
		}
		if s.Flag != "" {
			once("flag " + s.Flag)
		}
	}
}

func TestSuggest(t *testing.T) {
	known := []string{"--addr", "--admin-addr", "timeout", "--log-level", "log-format", "BUS_VM_TIMEOUT"}
	for name, want := range map[string]string{
		"adr": "--addr", "--addr": "--addr", "Addr": "--addr", "tiemout": "timeout", "log": "--log-level", "log-f": "log-format",
		"BUS_VM_TIMEOT": "BUS_VM_TIMEOUT", "": "", "x": "", "ad": "", "colour": "", "timeouts-of-all": "", strings.Repeat("a", 1<<20): "",
	} {
		if want != "" {
			want = "; did you mean " + want + "?"
		}
		require.Equal(t, want, Suggest(name, known), name[:min(20, len(name))])
	}
	require.Empty(t, Suggest("addr", nil))
}

func TestTableRowsAreWhole(t *testing.T) {
	for _, s := range Settings() {
		switch {
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
	}
}
