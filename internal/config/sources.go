package config

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/spf13/pflag"
)

// readDefaults is the bottom layer: every key has a text from here on.
func (v values) readDefaults(table []Setting) {
	texts := map[string]any{}
	for _, s := range table {
		texts[s.Key] = s.Default
	}
	v.overlayTexts(layerDefault, texts, func(string) string { return "default" })
}

// readDev is what --dev brings; everything else that is set wins over it.
func (v values) readDev() {
	texts := map[string]any{keyUsageBackend: Memory, keyJWTSecret: DevSecret}
	v.overlayTexts(layerDev, texts, func(string) string { return "--dev" })
}

// readCredentials finds the files that LoadCredential= of a systemd unit brings
// (systemd.exec(5)).
func (v values) readCredentials(in Input) {
	names := map[string]string{keyJWTSecretFile: "jwt-secret", keyEventsTokenFile: "api-token"}
	directory := in.getenv("CREDENTIALS_DIRECTORY")
	texts := map[string]any{}
	for key, name := range names {
		if path := filepath.Join(directory, name); directory != "" && exists(path) {
			texts[key] = path
		}
	}
	v.overlayTexts(layerCredential, texts, func(key string) string { return "systemd credential " + names[key] })
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// readAmbient reads the names that the platform sets for every process.
func (v values) readAmbient(in Input, table []Setting) {
	v.readNames(layerAmbient, in, table, func(s Setting) string { return s.Ambient }, func(key, text string) string {
		switch {
		case key == keyEventsTokenFile && !exists(text):
			return "" // the dispatcher names a file that often does not exist
		case key == keyDataDir:
			first, _, _ := strings.Cut(text, ":") // of several directories (systemd.exec(5))
			return first
		}
		return text
	})
}

// readEnv reads the names of this service.
func (v values) readEnv(in Input, table []Setting) {
	v.readNames(layerEnv, in, table, func(s Setting) string { return s.Env },
		func(_, text string) string { return text })
}

// readNames reads the environment through an explicit table of names. An empty
// value counts as unset.
func (v values) readNames(at layer, in Input, table []Setting, nameOf func(Setting) string, use func(key, text string) string) {
	keys, names := map[string]string{}, map[string]string{}
	for _, s := range table {
		if name := nameOf(s); name != "" {
			keys[name], names[s.Key] = s.Key, name
		}
	}
	provider := env.Provider(".", env.Opt{
		EnvironFunc: func() []string { return in.Environ },
		TransformFunc: func(name, text string) (string, any) {
			key := keys[name]
			if key == "" {
				return "", nil
			}
			if text = use(key, text); text == "" {
				return "", nil
			}
			return key, text
		},
	})
	_ = v.overlay(at, provider, nil, func(key string) string { return "environment " + names[key] })
}

// readFlags reads the flags that were given, and no others.
func (v values) readFlags(in Input, table []Setting, found *problems) {
	if in.Flags == nil {
		return
	}
	checkPresets(table, in.Flags, found)
	names := map[string]string{}
	provider := posflag.ProviderWithFlag(in.Flags, ".", nil, func(f *pflag.Flag) (string, any) {
		key, text := readFlag(table, f)
		if f.Changed {
			names[key] = f.Name
		}
		return key, text
	})
	_ = v.overlay(layerFlag, provider, nil, func(key string) string { return "flag --" + names[key] })
}
