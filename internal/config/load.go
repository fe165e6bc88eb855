package config

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/file"
)

// Load reads and checks all settings. Its error is an *Error with everything
// that is wrong.
func Load(in Input) (*Config, error) {
	c, found, complete := parse(in, AllFlags)
	if complete {
		c.check(found)
		c.warn()
	}
	if err := found.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// LoadJWT reads the settings that signing a token takes and ignores what may be
// wrong with the others. Everything else in the Config is at its default.
func LoadJWT(in Input) (*Config, error) {
	c, found, complete := parse(in, JWTFlags)
	if complete {
		c.checkSecrets(found, "sign a token with", "")
	}
	if err := found.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// JWTFlags is a keep for NewFlagSet: the flags that LoadJWT obeys.
func JWTFlags(key string) bool {
	return slices.Contains([]string{keyConfig, keyDev, keyJWTSecret, keyJWTSecretFile}, key)
}

// parse fills a Config with the settings that pass keep, each valid in itself
// or reported. It is not complete when a source could not be read: then nothing
// can be said about what is missing.
func parse(in Input, keep func(key string) bool) (c *Config, found *problems, complete bool) {
	table, v := Settings(), newValues()
	c, found = &Config{origin: &origin{in, v}}, &problems{}
	complete = v.read(in, table, found)
	v.settlePair(keyJWTSecret, keyJWTSecretFile)
	v.settlePair(keyEventsToken, keyEventsTokenFile)
	for _, s := range table {
		s.kind.set(c, s.Default) // what stays when the text is refused
		if !keep(s.Key) || s.kind.set(c, v.text(s.Key)) {
			continue
		}
		if s.Secret {
			found.add(s.Key, v.source(s.Key).name, "%s stands for a secret in printed settings and is none; want %s", redacted, s.Allowed())
			continue
		}
		found.add(s.Key, v.source(s.Key).name, "%s is not accepted; want %s", quote(v.text(s.Key)), s.Allowed())
	}
	return c, found, complete
}

// read fills v from the weakest source to the strongest and reports whether all
// of them could be read.
func (v values) read(in Input, table []Setting, found *problems) bool {
	early := newValues() // flags and environment alone say which file, and whether --dev
	early.readEnv(in, table)
	early.readFlags(in, table, &problems{})

	v.readDefaults(table)
	if dev, _ := parseBool(early.text(keyDev)); dev {
		v.readDev()
	}
	v.readCredentials(in)
	v.readAmbient(in, table)
	complete := true
	if path := early.text(keyConfig); path != "" {
		complete = v.readFile(path, early.source(keyConfig), table, found)
	}
	v.readEnv(in, table)
	v.readFlags(in, table, found)
	return complete
}

// readFile reads the YAML file at path; named is who named it.
func (v values) readFile(path string, named Source, table []Setting, found *problems) bool {
	inFile := slices.DeleteFunc(slices.Clone(table), func(s Setting) bool { return s.NotInFile })
	parser := &fileParser{path: path, table: byKey(inFile), found: found}
	if err := v.overlay(layerFile, file.Provider(path), parser, parser.from); err != nil {
		found.add(keyConfig, named.name, "%s: %s", quote(path), cause(err))
		return false
	}
	return true
}

// cause is the text of a file error without the path in it.
func cause(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

// settlePair decides between a secret and the file form of it: what someone
// chose for this service wins over what the platform brings, then the stronger
// source, then the file. Two deliberate JWT settings are left for check to
// refuse.
func (v values) settlePair(plain, file string) {
	if !v.given(plain) || !v.given(file) {
		return
	}
	loser, winner := plain, file
	if v.source(plain).layer > v.source(file).layer {
		loser, winner = file, plain
	}
	if plain == keyJWTSecret && v.source(loser).deliberate() {
		return
	}
	v.drop(loser, "not used: "+winner+" wins")
}

// strangers lists the names in the environment that look like settings of this
// service and are none.
func (in Input) strangers() []string {
	known := map[string]bool{}
	for _, s := range Settings() {
		known[s.Env] = true
	}
	var names []string
	for _, entry := range in.Environ {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, envPrefix) && !known[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// envPrefix begins the names that belong to this service alone.
const envPrefix = "BUS_VM_"
