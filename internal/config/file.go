package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/busdk/bus-api-provider-vm/internal/files"
)

// maxFile bounds the YAML file, in bytes.
const maxFile = 1 << 20

// fileReader reads the YAML file. It keeps every value the text it is in the
// file, so that 0660 stays a mode and 1e3 is no number, with its line. Null and
// empty values count as unset: a section without a value must not wipe the
// defaults below it.
type fileReader struct {
	path    string
	found   *Error
	entries map[string]entry // texts and places by key
	seen    map[string]bool  // the settings and sections so far
}

// file returns what the YAML file says, and reports what is wrong with it. It
// is not complete when the file cannot be read or is not YAML.
func (in Input) file(found *Error) (entries map[string]entry, complete bool) {
	path, place := in.flag(setting("config"))
	if place == "" {
		path, place = in.environment(setting("config").Env)
	}
	if place == "" {
		path, place = in.packaged(setting("config"))
	}
	if path == "" {
		return nil, true
	}
	text, err := files.Read(path, maxFile)
	if err != nil {
		found.Add("config", place, "%.80q: %w", path, err)
		return nil, false
	}
	f := fileReader{path, found, map[string]entry{}, map[string]bool{}}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF): // nothing but comments
		return nil, true
	case err != nil:
		f.notYAML(text, err)
		return nil, false
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		found.Add("", "file "+path, "want one YAML document only")
	}
	f.section("", document.Content[0])
	return f.entries, true
}

// refuse reports what stands at a node.
func (f *fileReader) refuse(key string, node *yaml.Node, format string, args ...any) {
	f.found.Add(key, f.at(node.Line), format, args...)
}

func (f *fileReader) at(line int) string { return fmt.Sprintf("file %s line %d", f.path, line) }

// section reads the mapping below prefix, which is empty or ends in a dot.
func (f *fileReader) section(prefix string, node *yaml.Node) {
	node = cmp.Or(node.Alias, node)
	if isNull(node) {
		return
	}
	if node.Kind != yaml.MappingNode {
		f.refuse(strings.TrimSuffix(prefix, "."), node, "want settings as `key: value`")
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, child := node.Content[i], node.Content[i+1]
		key := prefix + name.Value
		s := setting(key)
		switch {
		case name.Kind != yaml.ScalarNode || !slices.Contains(fileKeys(), key):
			f.refuse("", name, "unknown key %.80q%s", key, Suggest(key, fileKeys()))
		case f.seen[key]:
			f.refuse(key, name, "is twice in the file")
		case s.Key != "":
			f.leaf(s, cmp.Or(child.Alias, child))
		default:
			f.section(key+".", child)
		}
		f.seen[key] = true
	}
}

// leaf reads the value of one setting.
func (f *fileReader) leaf(s Setting, node *yaml.Node) {
	text := node.Value
	switch {
	case node.Kind == yaml.SequenceNode && s.Value == "list":
		var items []string
		err := node.Decode(&items) // passes over null
		if text = strings.Join(items, " "); err != nil || text == "" || len(items) < len(node.Content) || !slices.Equal(splitList(text), items) {
			f.refuse(s.Key, node, "want names without spaces or commas, at least one")
			return
		}
	case node.Kind != yaml.ScalarNode:
		f.refuse(s.Key, node, "want one value: %s", s.Allowed)
		return
	case isNull(node) || text == "":
		return
	}
	f.entries[s.Key] = entry{Text: text, Place: f.at(node.Line)}
}

// fileKeys are the settings that the file may have, and their sections.
var fileKeys = sync.OnceValue(func() (keys []string) {
	for _, s := range Settings() {
		if section, _, _ := strings.Cut(s.Key, "."); !s.NotInFile {
			keys = append(keys, section, s.Key)
		}
	}
	return keys
})

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }

var (
	indentedByTab = regexp.MustCompile(`(?m)^[ -]*\t`)
	quoted        = regexp.MustCompile("'[^']*'|\"[^\"]*\"|`[^`]*`")
)

// notYAML reports an error of the parser. What it quotes from the file is left
// out, since that may be part of a secret, such as one that begins with an
// asterisk; a single character is the parser's own word.
func (f *fileReader) notYAML(text []byte, err error) {
	if tab := indentedByTab.FindIndex(text); tab != nil {
		f.found.Add("", f.at(1+bytes.Count(text[:tab[0]], []byte("\n"))), "a tab cannot indent YAML; want spaces")
		return
	}
	words := quoted.ReplaceAllStringFunc(strings.ReplaceAll(err.Error(), "\n", " "), func(quote string) string {
		if utf8.RuneCountInString(quote) == len("'x'") {
			return quote
		}
		return "…"
	})
	words = strings.Replace(words, "found character that cannot start any token", "want quotes around a value that begins with @, ` or %", 1)
	f.found.Add("", "file "+f.path, "not YAML: %s", strings.TrimPrefix(words, "yaml: "))
}
