package config

import (
	"cmp"
	"encoding"
	"math"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/busdk/bus-api-provider-vm/internal/address"
	"github.com/busdk/bus-api-provider-vm/internal/secret"
	"github.com/busdk/bus-api-provider-vm/internal/token"
)

// Setting is one field of Config: what its tags and its type say.
type Setting struct {
	Key                string   // path in the YAML file, such as `jwt.leeway`
	Flag, Env, Ambient string   // names, the flag without dashes; empty for none
	Default, Group     string   // texts
	Help               string   // one sentence, with its full stop
	NotInFile, Secret  bool     // secrets appear in no output
	Reload             string   // what a running service follows; empty for nothing
	Value              string   // stands for the value in help; `bool` for a flag that is complete without one
	Allowed            string   // what the setting may be
	Choices            []string // the values of a setting that has only so many

	credential string // the file that LoadCredential= of a systemd unit brings
	followed   bool   // a new value needs no restart
	unquoted   bool   // needs no quotes in YAML
	list       bool   // may be a list in YAML
	parse      func(text string) (any, bool)
}

// reloads are the words of the tag reload. Flags and the environment of a
// process never change, so only files are in question; they are followed within
// two seconds, or at once on SIGHUP.
var reloads = map[string]string{
	"file":    "the value in the YAML file is followed",
	"content": "what it points at is followed; another value needs a restart",
	"refused": "with `events.token_refresh`, the value in the YAML file is read again when it is refused",
	"both":    "the value in the YAML file and what it points at are followed",
}

// Settings returns the table in the order of the documents.
func Settings() []Setting { return slices.Clone(table()) }

var table = sync.OnceValue(func() []Setting { return settingsOf(reflect.TypeFor[Config](), "", "") })

// setting returns the one with key; its Key is empty when there is none.
func setting(key string) (s Setting) {
	if at := slices.IndexFunc(table(), func(s Setting) bool { return s.Key == key }); at >= 0 {
		s = table()[at]
	}
	return s
}

// settingsOf reads the fields of t, whose keys begin with prefix.
func settingsOf(t reflect.Type, prefix, group string) (list []Setting) {
	for i := range t.NumField() {
		field := t.Field(i)
		tag := field.Tag.Get
		key := prefix + tag("koanf")
		group = cmp.Or(tag("group"), group)
		switch {
		case tag("help") != "":
			s := Setting{
				Key: key, Flag: tag("flag"), Env: tag("env"), Ambient: tag("ambient"), Default: tag("default"), Group: group,
				Help: tag("help"), NotInFile: tag("file") == "-", Reload: reloads[tag("reload")], Value: tag("value"),
				Allowed: tag("want"), Choices: strings.Fields(tag("oneof")), credential: tag("credential"),
				followed: tag("reload") == "file" || tag("reload") == "both",
			}
			if key == keyAudiences {
				s.Default = token.Audience
			}
			s.setType(field.Type, tag("min"), tag("max"))
			list = append(list, s)
		case field.Type.Kind() == reflect.Struct:
			list = append(list, settingsOf(field.Type, key+".", group)...)
		}
	}
	return list
}

// setType settles how texts become values of type t. They are parsed here and
// nowhere else: decoders that convert by themselves turn the duration 30 into
// 30 ns and the mode 0123 into 83.
func (s *Setting) setType(t reflect.Type, low, high string) {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		low, high = cmp.Or(low, "1ms"), cmp.Or(high, "24h")
		s.Value, s.Allowed = "duration", "a duration from "+low+" to "+high+", such as 1m30s; a bare integer is seconds"
		s.parse, s.unquoted = within(low, high, ParseDuration), true
	case t == reflect.TypeFor[int]():
		s.Value, s.Allowed = "count", "an integer from "+low+" to "+high
		s.parse, s.unquoted = within(low, high, parseCount), true
	case t == reflect.TypeFor[os.FileMode]():
		s.Value, s.Allowed = "mode", "an octal file mode from 0000 to 0777"
		s.parse, s.unquoted = within("0000", "0777", parseMode), true
	case t == reflect.TypeFor[bool]():
		s.Value, s.Allowed = "bool", "1, true, yes, on, or 0, false, no, off"
		s.parse, s.unquoted = func(text string) (any, bool) { return parseBool(text) }, true
	case t == reflect.TypeFor[secret.String]():
		s.Value, s.Secret = "secret", true
		// The placeholder of printed settings never becomes a secret.
		s.parse = func(text string) (any, bool) { return secret.New(text), text != redacted }
	case t == reflect.TypeFor[[]string]():
		s.Value, s.Allowed, s.list = "list", "a list, or names separated by commas or spaces", true
		s.parse = func(text string) (any, bool) { return splitList(text), len(splitList(text)) > 0 }
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		s.parse = func(text string) (any, bool) {
			value := reflect.New(t)
			err := value.Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
			return value.Elem().Interface(), err == nil
		}
	default:
		s.parse = func(text string) (any, bool) { return text, s.Value != "address" || text == "" || address.Valid(text) }
	}
	if len(s.Choices) > 0 {
		s.Value, s.Allowed = strings.Join(s.Choices, "|"), strings.Join(s.Choices, ", ")
	}
}

// read parses a text. A setting with a default is never empty.
func (s Setting) read(text string) (value any, ok bool) {
	if text == "" && s.Default != "" || len(s.Choices) > 0 && !slices.Contains(s.Choices, text) {
		return nil, false
	}
	return s.parse(text)
}

// within bounds what parse accepts: low and high are included.
func within[T cmp.Ordered](low, high string, parse func(string) (T, bool)) func(string) (any, bool) {
	least, _ := parse(low)
	most, _ := parse(high)
	return func(text string) (any, bool) {
		value, ok := parse(text)
		return value, ok && least <= value && value <= most
	}
}

// ParseDuration reads Go's syntax or a bare integer of seconds, not negative.
func ParseDuration(text string) (d time.Duration, ok bool) {
	if n, err := strconv.ParseUint(text, 10, 63); err == nil {
		return time.Duration(n) * time.Second, n <= math.MaxInt64/uint64(time.Second)
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d >= 0
}

func splitList(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
}

func parseCount(text string) (int, bool) {
	n, err := strconv.ParseUint(text, 10, 63)
	return int(n), err == nil
}

// parseMode reads octal, with or without a leading 0 or 0o.
func parseMode(text string) (os.FileMode, bool) {
	mode, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
	return os.FileMode(mode), err == nil
}

func parseBool(text string) (v, ok bool) {
	switch strings.ToLower(text) {
	case "1", "true", "yes", "on":
		return true, true
	case "0", "false", "no", "off":
		return false, true
	}
	return false, false
}
