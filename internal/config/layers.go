package config

import (
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"

	"github.com/busdk/bus-api-provider-vm/internal/files"
)

// Input is what Load reads besides files.
type Input struct {
	Flags   map[string]Flag // those that were given, by the names in Settings
	Environ []string        // as os.Environ
	Wrong   Error           // found with the command line already

	found []string // files in PackageDir that counted before: they count although they are gone
}

// Flag is the text of a flag, and its place, such as `flag --addr`: -v stands
// for another one.
type Flag struct{ Text, Place string }

// layer orders where values come from; a later one wins.
type layer int

const (
	layerDefault layer = iota
	layerDev
	layerPackage
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
	found  *Error

	fileSecrets bool // some are in the YAML file
}

// at is the entry of a setting: each has one, if only its default.
func (o *origin) at(key string) entry { return o.merged.Get(key).(entry) }

// given reports a value that is not empty and no default.
func (o *origin) given(key string) bool {
	return o.at(key).Text != "" && o.at(key).Layer > layerDefault
}

// refuse reports the value of a setting, with its place.
func (o *origin) refuse(key, format string, args ...any) {
	o.found.Add(key, o.at(key).Place, format, args...)
}

// adopt reports what Refuse made of a setting, or nothing for nil.
func (o *origin) adopt(err error) {
	if wrong, ok := errors.AsType[*Error](err); ok {
		p := wrong.Problems[0]
		p.Source = o.at(p.Key).Place
		o.found.Problems = append(o.found.Problems, p)
		if wrong.MayPass() {
			o.found.passing = append(o.found.passing, p)
		}
	}
}

// parse fills a Config with settings that are each valid in itself, or
// reported. It is not complete when the file could not be read: then nothing
// can be said about what is missing.
func parse(in Input) (c *Config, complete bool) {
	o := &origin{input: in, merged: koanf.New("."), found: &Error{Problems: slices.Clone(in.Wrong.Problems)}}
	c = &Config{origin: o}
	file, complete := in.file(o.found)
	// A source says what it has for a setting and where; without a place, nothing.
	for at, source := range []func(s Setting) (text, place string){
		layerDefault:    func(s Setting) (text, place string) { return s.Default, "default" },
		layerDev:        in.dev,
		layerPackage:    in.packaged,
		layerCredential: in.credential,
		layerAmbient:    in.ambient,
		layerFile:       func(s Setting) (text, place string) { return file[s.Key].Text, file[s.Key].Place },
		layerEnv:        func(s Setting) (text, place string) { return in.environment(s.Env) },
		layerFlag:       in.flag,
	} {
		entries := map[string]any{}
		for _, s := range Settings() {
			if text, place := source(s); place != "" {
				entries[s.Key] = entry{s.Key, text, place, layer(at)}
			}
		}
		_ = o.merged.Load(confmap.Provider(entries, "."), nil) // from memory: it cannot fail
	}
	o.fileSecrets = slices.ContainsFunc(Settings(), func(s Setting) bool { return s.Secret && file[s.Key].Text != "" })
	for _, secret := range []string{"jwt.secret", "events.token", "store.url"} {
		o.settlePair(secret, secret+"_file")
	}
	o.unmarshal(c)
	o.input.found = nil
	for _, s := range Settings() {
		if e := o.at(s.Key); e.Layer == layerPackage {
			o.input.found = append(o.input.found, e.Text)
		}
	}
	c.Found = strings.Join(o.input.found, ", ")
	return c, complete
}

// unmarshal fills c. A text that is refused is reported, and the default of its
// setting stays.
func (o *origin) unmarshal(c *Config) {
	read := func(_, _ reflect.Type, data any) (any, error) {
		e, isEntry := data.(entry)
		if !isEntry {
			return data, nil // a section
		}
		s := setting(e.Key)
		value, ok := s.read(e.Text)
		if !ok {
			// The only secret that is refused is the placeholder.
			o.refuse(s.Key, "%.80q is not accepted; want %s", e.Text, s.Allowed)
			value, _ = s.read(s.Default)
		}
		return value, nil
	}
	if err := o.merged.UnmarshalWithConf("", c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{DecodeHook: read}}); err != nil {
		panic("BUG: a setting is read as another type than its field: " + err.Error())
	}
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
	if plain != "jwt.secret" || o.at(loser).Layer < layerFile {
		_ = o.merged.Set(loser, entry{loser, "", "not used: " + winner + " wins", layerDefault}) // it fails in strict merges only
	}
}

// dev is what --dev brings.
func (in Input) dev(s Setting) (text, place string) {
	asked, _ := in.flag(setting("dev"))
	texts := map[string]string{"usage.backend": Memory, "jwt.secret": DevSecret}
	if on, _ := parseBool(s, asked); on == true && texts[s.Key] != "" {
		return texts[s.Key], "--dev"
	}
	return "", ""
}

// PackageDir is where the package keeps its settings and secrets. A setting that
// names one of its files finds it there if nothing else is named; --dev finds none.
var PackageDir = "/etc/bus-api-provider-vm" // tests link another one

func (in Input) packaged(s Setting) (text, place string) {
	_, dev := in.dev(setting("jwt.secret"))
	if path := filepath.Join(PackageDir, s.packaged); s.packaged != "" && dev == "" && (files.Exists(path) || slices.Contains(in.found, path)) {
		return path, "found in " + PackageDir
	}
	return "", ""
}

func (in Input) credential(s Setting) (text, place string) {
	directory, _ := in.environment("CREDENTIALS_DIRECTORY") // systemd.exec(5)
	if path := filepath.Join(directory, s.credential); directory != "" && s.credential != "" && files.Exists(path) {
		return path, "systemd credential " + s.credential
	}
	return "", ""
}

// ambient passes over the name of a file that is not there: the platform's
// dispatcher sets one whether it is or not.
func (in Input) ambient(s Setting) (text, place string) {
	text, place = in.environment(s.Ambient)
	if s.Key == "data_dir" {
		text, _, _ = strings.Cut(text, ":") // the first of several (systemd.exec(5))
	}
	if text == "" || s.Key == "events.token_file" && !files.Exists(text) {
		return "", ""
	}
	return text, place
}

func (in Input) environment(name string) (text, place string) {
	for _, each := range slices.Backward(in.Environ) { // the last one counts, as in a shell
		if key, text, _ := strings.Cut(each, "="); key == name && name != "" && text != "" {
			return text, "environment " + name
		}
	}
	return "", ""
}

func (in Input) flag(s Setting) (text, place string) {
	return in.Flags[s.Flag].Text, in.Flags[s.Flag].Place
}
