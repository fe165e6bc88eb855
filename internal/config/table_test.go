package config

import (
	"slices"
	"strings"
	"testing"
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
		for _, flag := range s.flagNames() {
			once("flag " + flag)
		}
	}
}

func TestTableRowsAreWhole(t *testing.T) {
	for _, s := range Settings() {
		switch {
		case s.Group == "", s.Allowed() == "", s.ValueName() == "", !strings.HasSuffix(s.Usage, "."):
			t.Errorf("%s lacks a group, a value or a sentence: %+v", s.Key, s)
		case s.Secret && (s.Flag != "" || len(s.Presets) > 0):
			t.Errorf("%s is a secret with a flag", s.Key)
		case s.Flag == "" && s.Env == "":
			t.Errorf("%s can be set in a file only", s.Key)
		}
		if s.Default != "" && !s.kind.set(&Config{}, s.Default) {
			t.Errorf("%s refuses its own default %q", s.Key, s.Default)
		}
	}
}

func TestGroupsAreContiguous(t *testing.T) {
	var order []Group
	for _, s := range Settings() {
		if len(order) == 0 || order[len(order)-1] != s.Group {
			order = append(order, s.Group)
		}
	}
	if !slices.Equal(order, Groups()) {
		t.Errorf("the table goes through its groups as %v", order)
	}
}
