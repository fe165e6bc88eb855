package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// Input is what Load reads besides files.
type Input struct {
	// Flags is a parsed set with the flags of Settings as texts; nil stands for
	// no flags. A flag with the annotation Sets stands for another one.
	Flags *pflag.FlagSet
	// Environ is the environment in the form of os.Environ.
	Environ []string
}

// Sets is the annotation of a flag that sets the one named first to the text
// named second.
const Sets = "sets"

// layer orders where values come from; a later one wins.
type layer int

const (
	layerDefault layer = iota
	layerDev
	layerCredential
	layerAmbient
	layerFile // from here on someone chose the value for this service
	layerEnv
	layerFlag
)

// entry is what koanf merges: the text of a setting, and where it came from.
// Its fields are exported for koanf's deep copies.
type entry struct {
	Key, Text string
	Place     string // such as `environment BUS_VM_ADDR`, or a file and line
	Layer     layer
}

// origin is what a Config was made of.
type origin struct {
	input  Input
	merged *koanf.Koanf
}

func (o *origin) at(key string) entry {
	e, _ := o.merged.Get(key).(entry)
	return e
}

func (o *origin) put(e entry) { _ = o.merged.Set(e.Key, e) } // it fails in strict merges only

// given reports a value that is not empty and no default.
func (o *origin) given(key string) bool {
	return o.at(key).Text != "" && o.at(key).Layer > layerDefault
}

// A source says what it has for a setting and where; without a place, nothing.
type source func(s Setting) (text, place string)

func (o *origin) load(at layer, from source) {
	entries := map[string]any{}
	for _, s := range table() {
		if text, place := from(s); place != "" {
			entries[s.Key] = entry{s.Key, text, place, at}
		}
	}
	_ = o.merged.Load(confmap.Provider(entries, "."), nil) // from memory: it cannot fail
}

// read merges all layers and reports whether the file could be read.
func (o *origin) read(found *Error) (complete bool) {
	in := o.input
	early := origin{in, koanf.New(".")} // it says which file, and whether --dev
	early.load(layerEnv, func(s Setting) (text, place string) { return in.environment(s.Env) })
	early.load(layerFlag, in.flag)

	o.load(layerDefault, func(s Setting) (text, place string) { return s.Default, "default" })
	if dev, _ := parseBool(early.at(keyDev).Text); dev {
		o.put(entry{keyUsageBackend, Memory, "--dev", layerDev})
		o.put(entry{keyJWTSecret, DevSecret, "--dev", layerDev})
	}
	o.load(layerCredential, in.credential)
	o.load(layerAmbient, in.ambient)
	complete = true
	if path := early.at(keyConfig); path.Text != "" {
		err := o.merged.Load(file.Provider(path.Text), &fileParser{path: path.Text, found: found})
		complete = err == nil
		if failed := (*os.PathError)(nil); errors.As(err, &failed) {
			err = failed.Err // without the path
		}
		if !complete && err != errNotYAML { // which the parser reported
			found.add(keyConfig, path.Place, "%s: %v", quote(path.Text), err)
		}
	}
	_ = o.merged.Merge(early.merged)
	return complete
}

// environment looks up a name, and credential a file of a systemd unit.
func (in Input) environment(name string) (text, place string) {
	if text = in.variable(name); text == "" {
		return "", ""
	}
	return text, "environment " + name
}

func (in Input) credential(s Setting) (text, place string) {
	directory := in.variable("CREDENTIALS_DIRECTORY") // systemd.exec(5)
	path := filepath.Join(directory, s.credential)
	if directory == "" || s.credential == "" || !exists(path) {
		return "", ""
	}
	return path, "systemd credential " + s.credential
}

// ambient passes over the name of a file that is not there: the platform's
// dispatcher sets one whether it is or not.
func (in Input) ambient(s Setting) (text, place string) {
	text, place = in.environment(s.Ambient)
	if s.Key == keyDataDir {
		text, _, _ = strings.Cut(text, ":") // the first of several (systemd.exec(5))
	}
	if text == "" || s.Key == keyEventsTokenFile && !exists(text) {
		return "", ""
	}
	return text, place
}

func (in Input) flag(s Setting) (text, place string) {
	if in.Flags == nil {
		return "", ""
	}
	in.Flags.Visit(func(f *pflag.Flag) {
		if sets := f.Annotations[Sets]; f.Name == s.Flag {
			text, place = f.Value.String(), "flag --"+f.Name
		} else if sets != nil && sets[0] == s.Flag {
			text, place = sets[1], "flag --"+f.Name
		}
	})
	return text, place
}

// variable returns the last value of name, as a shell would; empty for none.
func (in Input) variable(name string) (found string) {
	for _, each := range in.Environ {
		if key, text, _ := strings.Cut(each, "="); key == name && name != "" {
			found = text
		}
	}
	return found
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// settlePair decides between a secret and the file form of it: what someone
// chose for this service wins over what the platform brings, then the stronger
// layer, then the file. Two deliberate JWT settings are left for check to
// refuse.
func (o *origin) settlePair(plain, file string) {
	if !o.given(plain) || !o.given(file) {
		return
	}
	loser, winner := plain, file
	if o.at(plain).Layer > o.at(file).Layer {
		loser, winner = file, plain
	}
	if plain != keyJWTSecret || o.at(loser).Layer < layerFile {
		o.put(entry{loser, "", "not used: " + winner + " wins", layerDefault})
	}
}

// unmarshal fills c with the settings that pass keep. A text that is refused is
// reported, and the default of its setting stays.
func (o *origin) unmarshal(c *Config, keep func(key string) bool, found *Error) {
	read := func(_, _ reflect.Type, data any) (any, error) {
		e, isEntry := data.(entry)
		if !isEntry {
			return data, nil // a section
		}
		s := setting(e.Key)
		value, ok := s.read(e.Text)
		switch {
		case keep(e.Key) && ok:
			return value, nil
		case keep(e.Key) && s.Secret:
			found.add(s.Key, e.Place, "%s stands for a secret in printed settings and is none; want %s", redacted, s.Allowed)
		case keep(e.Key):
			found.add(s.Key, e.Place, "%s is not accepted; want %s", quote(e.Text), s.Allowed)
		}
		value, _ = s.parse(s.Default)
		return value, nil
	}
	if err := o.merged.UnmarshalWithConf("", c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{DecodeHook: read}}); err != nil {
		panic("BUG: a setting is read as another type than its field: " + err.Error())
	}
}

// parse fills a Config with the settings that pass keep, each valid in itself
// or reported. It is not complete when the file could not be read: then nothing
// can be said about what is missing.
func parse(in Input, keep func(key string) bool) (c *Config, found *Error, complete bool) {
	o := &origin{in, koanf.New(".")}
	c, found = &Config{origin: o}, &Error{}
	complete = o.read(found)
	o.settlePair(keyJWTSecret, keyJWTSecretFile)
	o.settlePair(keyEventsToken, keyEventsTokenFile)
	o.unmarshal(c, keep, found)
	return c, found, complete
}
