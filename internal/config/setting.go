package config

import (
	"cmp"
	"log/slog"
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
	Key, Group         string   // the key is the path in the YAML file, such as `jwt.leeway`
	Flag, Env, Ambient string   // names, the flag with its dashes; empty for none
	Default, Help      string   // texts
	NotInFile, Secret  bool     // secrets appear in no output
	Reload             string   // what a running service follows; empty for nothing
	Value              string   // stands for the value in help; `bool` for a flag that is complete without one
	Allowed            string   // what the setting may be
	Choices            []string // the values of a setting that has only so many

	credential string // the file that LoadCredential= of a systemd unit brings
	packaged   string // the file in PackageDir
	low, high  string // bounds, included
	kind       kind
}

// Settings returns the table in the order of the documents.
var Settings = sync.OnceValue(func() []Setting { return settingsOf(reflect.TypeFor[Config](), "", "") })

// setting returns the one with key; its Key is empty when there is none.
func setting(key string) (s Setting) {
	if at := slices.IndexFunc(Settings(), func(s Setting) bool { return s.Key == key }); at >= 0 {
		s = Settings()[at]
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
		if tag("help") == "" {
			if field.Type.Kind() == reflect.Struct {
				list = append(list, settingsOf(field.Type, key+".", group)...)
			}
			continue
		}
		s := Setting{
			Key: key, Group: group, Flag: tag("flag"), Env: tag("env"), Ambient: tag("ambient"), Default: tag("default"), Help: tag("help"),
			NotInFile: tag("file") == "-", Reload: tag("reload"), Choices: strings.Fields(tag("oneof")),
			credential: tag("credential"), packaged: cmp.Or(tag("packaged"), tag("credential")), low: cmp.Or(tag("min"), "1ms"), high: cmp.Or(tag("max"), "24h"), kind: kinds[field.Type],
		}
		if key == "jwt.audiences" {
			s.Default = token.Audience
		}
		s.Secret = s.kind.value == "secret"
		s.Value = cmp.Or(strings.Join(s.Choices, "|"), tag("value"), s.kind.value)
		s.Allowed = cmp.Or(strings.Join(s.Choices, ", "), tag("want"), strings.NewReplacer("LOW", s.low, "HIGH", s.high).Replace(s.kind.allowed))
		list = append(list, s)
	}
	return list
}

// read parses a text. A setting with a default is never empty.
func (s Setting) read(text string) (value any, ok bool) {
	if text == "" && s.Default != "" || len(s.Choices) > 0 && !slices.Contains(s.Choices, text) {
		return nil, false
	}
	return s.kind.parse(s, text)
}

// kind is what a type of field says about its settings. Texts are parsed here
// and nowhere else: decoders that convert by themselves turn the duration 30
// into 30 ns and the mode 0123 into 83.
type kind struct {
	value, allowed string // as in Setting
	plain          bool   // needs no quotes in YAML
	parse          func(s Setting, text string) (any, bool)
}

var kinds = map[reflect.Type]kind{
	reflect.TypeFor[time.Duration](): {"duration", "a duration from LOW to HIGH, such as 1m30s; a bare integer is seconds", true, within(ParseDuration)},
	reflect.TypeFor[int]():           {"count", "an integer from LOW to HIGH", true, within(parseCount)},
	reflect.TypeFor[os.FileMode]():   {"mode", "an octal file mode from LOW to HIGH", true, within(parseMode)},
	reflect.TypeFor[bool]():          {"bool", "1, true, yes, on, or 0, false, no, off", true, parseBool},
	reflect.TypeFor[slog.Level]():    {parse: parseLevel},
	reflect.TypeFor[[]string](): {value: "list", allowed: "a list, or names separated by commas or spaces", parse: func(_ Setting, text string) (any, bool) {
		return splitList(text), len(splitList(text)) > 0
	}},
	reflect.TypeFor[string](): {parse: func(s Setting, text string) (any, bool) {
		return text, s.Value != "address" || text == "" || address.Valid(text)
	}},
	reflect.TypeFor[secret.String](): {value: "secret", parse: func(_ Setting, text string) (any, bool) {
		return secret.New(strings.TrimPrefix(text, secret.ByteOrderMark)), text != secret.Redacted // the placeholder in printed settings becomes no secret
	}},
}

// within is a parser that accepts what lies between the bounds of a setting.
func within[T cmp.Ordered](parse func(string) (T, bool)) func(Setting, string) (any, bool) {
	return func(s Setting, text string) (any, bool) {
		low, _ := parse(s.low)
		high, _ := parse(s.high)
		value, ok := parse(text)
		return value, ok && low <= value && value <= high
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

func parseCount(text string) (int, bool) {
	n, err := strconv.ParseUint(text, 10, 63)
	return int(n), err == nil
}

// parseMode reads octal, with or without a leading 0 or 0o.
func parseMode(text string) (os.FileMode, bool) {
	mode, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
	return os.FileMode(mode), err == nil
}

func parseBool(_ Setting, text string) (any, bool) {
	on := slices.Contains([]string{"1", "true", "yes", "on"}, strings.ToLower(text))
	return on, on || slices.Contains([]string{"0", "false", "no", "off"}, strings.ToLower(text))
}

func splitList(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
}

func parseLevel(_ Setting, text string) (any, bool) {
	var level slog.Level
	err := level.UnmarshalText([]byte(text))
	return level, err == nil
}
