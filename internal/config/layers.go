package config

import (
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// Input is what Load reads besides files.
type Input struct {
	// Flags is a parsed set of NewFlagSet; nil stands for no flags.
	Flags *pflag.FlagSet
	// Environ is the environment in the form of os.Environ.
	Environ []string
}

// getenv returns the last value of name, as a shell would.
func (in Input) getenv(name string) string {
	found := ""
	for _, entry := range in.Environ {
		if key, text, _ := strings.Cut(entry, "="); key == name {
			found = text
		}
	}
	return found
}

// layer orders where values come from; a later one wins.
type layer int

const (
	layerDefault layer = iota
	layerDev
	layerCredential
	layerAmbient
	layerFile
	layerEnv
	layerFlag
)

// Source is where the value of a setting came from.
type Source struct {
	layer layer
	name  string
}

func (s Source) String() string { return s.name }

// deliberate reports a source that someone chose for this service, unlike
// defaults and what the platform gives to every process.
func (s Source) deliberate() bool { return s.layer >= layerFile }

// values is the text of every setting with its source.
type values struct {
	merged  *koanf.Koanf
	sources map[string]Source
}

func newValues() values { return values{koanf.New("."), map[string]Source{}} }

func (v values) text(key string) string   { return v.merged.String(key) }
func (v values) source(key string) Source { return v.sources[key] }

// given reports a value that is not empty and no default.
func (v values) given(key string) bool {
	return v.text(key) != "" && v.source(key).layer > layerDefault
}

// overlay puts what provider yields over what is there. from names the source
// of a key. Only files can fail to be read.
func (v values) overlay(at layer, provider koanf.Provider, parser koanf.Parser, from func(key string) string) error {
	upper := koanf.New(".")
	if err := upper.Load(provider, parser); err != nil {
		return err
	}
	for _, key := range upper.Keys() {
		v.sources[key] = Source{at, from(key)}
	}
	return v.merged.Merge(upper)
}

// overlayTexts is overlay for texts in memory.
func (v values) overlayTexts(at layer, texts map[string]any, from func(key string) string) {
	_ = v.overlay(at, confmap.Provider(texts, "."), nil, from)
}

// drop makes key unset.
func (v values) drop(key, why string) {
	v.sources[key] = Source{layerDefault, why}
	_ = v.merged.Set(key, "") // fails in strict merges only
}
