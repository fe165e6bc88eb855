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
	"unicode/utf8"

	"github.com/knadh/koanf/maps"
	"go.yaml.in/yaml/v3"

	"github.com/busdk/bus-api-provider-vm/internal/nearest"
)

// fileParser is a koanf.Parser that keeps every value the text it is in the
// file, so that 0660 stays a mode and 1e3 is no number, with its line. What is
// wrong with a key goes to found. Null and empty values count as unset: a
// section without a value must not wipe the defaults below it.
type fileParser struct {
	path    string
	found   *Error
	entries map[string]any
}

func (p *fileParser) at(line int) string { return fmt.Sprintf("file %s line %d", p.path, line) }

// Unmarshal returns the entries of text as nested maps. The error is for
// text that is not YAML, which is reported.
func (p *fileParser) Unmarshal(text []byte) (map[string]any, error) {
	p.entries = map[string]any{}
	var document yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, nil // nothing but comments
	case err != nil:
		p.notYAML(text, err)
		return nil, errNotYAML
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		p.found.add("", "file "+p.path, "want one YAML document only")
	}
	p.section("", document.Content[0])
	return maps.Unflatten(p.entries, "."), nil
}

// Marshal makes fileParser a koanf.Parser; settings are printed by Print.
func (p *fileParser) Marshal(map[string]any) ([]byte, error) {
	return nil, errors.New("BUG: settings are never written this way")
}

// section reads the mapping below prefix, which is empty or ends in a dot.
func (p *fileParser) section(prefix string, node *yaml.Node) {
	node = cmp.Or(node.Alias, node)
	if isNull(node) {
		return
	}
	here := strings.TrimSuffix(prefix, ".")
	if node.Kind != yaml.MappingNode {
		p.found.add(here, p.at(node.Line), "want settings as `key: value`")
		return
	}
	seen, siblings := map[string]bool{}, fileKeys(prefix)
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, child := node.Content[i], node.Content[i+1]
		key := prefix + name.Value
		s := setting(key)
		switch {
		case name.Kind != yaml.ScalarNode || !slices.Contains(siblings, name.Value):
			p.found.add(here, p.at(name.Line), "unknown key %s%s", quote(name.Value), suggest(name.Value, siblings))
		case seen[key]:
			p.found.add(key, p.at(name.Line), "stands twice in the file")
		case s.Key != "":
			p.leaf(s, cmp.Or(child.Alias, child))
		default:
			p.section(key+".", child)
		}
		seen[key] = true
	}
}

// leaf reads the value of one setting.
func (p *fileParser) leaf(s Setting, node *yaml.Node) {
	switch {
	case node.Kind == yaml.SequenceNode && s.list:
		var items []string
		for _, item := range node.Content {
			if item = cmp.Or(item.Alias, item); isNull(item) {
				item = &yaml.Node{}
			}
			items = append(items, item.Value)
		}
		text := strings.Join(items, " ")
		if len(items) == 0 || !slices.Equal(splitList(text), items) {
			p.found.add(s.Key, p.at(node.Line), "want names without spaces or commas, at least one")
			return
		}
		p.entries[s.Key] = entry{s.Key, text, p.at(node.Line), layerFile}
	case node.Kind != yaml.ScalarNode:
		p.found.add(s.Key, p.at(node.Line), "want one value: %s", s.Allowed)
	case !isNull(node) && node.Value != "":
		p.entries[s.Key] = entry{s.Key, node.Value, p.at(node.Line), layerFile}
	}
}

// fileKeys lists the settings and sections right below prefix.
func fileKeys(prefix string) (keys []string) {
	for _, s := range table() {
		if rest, ok := strings.CutPrefix(s.Key, prefix); ok && !s.NotInFile {
			name, _, _ := strings.Cut(rest, ".")
			keys = append(keys, name)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// suggest is the end of a message about an unknown key: the one it may stand
// for, here or in another section, or all that are known here.
func suggest(name string, siblings []string) string {
	if near := nearest.Name(name, siblings); near != "" {
		return "; did you mean " + near + "?"
	}
	for _, s := range table() {
		section, last, below := strings.Cut(s.Key, ".")
		if below && (name == last || name == s.Key) {
			return fmt.Sprintf("; did you mean %s in the section %s?", last, section)
		}
	}
	return "; known here: " + strings.Join(siblings, ", ")
}

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }

var (
	indentedByTab = regexp.MustCompile(`(?m)^ *\t[ \t]*[^ \t\r\n#]`)
	yamlLine      = regexp.MustCompile(`^line (\d+): `)
	quoted        = regexp.MustCompile("'[^']*'|\"[^\"]*\"|`[^`]*`")
)

var errNotYAML = errors.New("the file is not YAML")

// notYAML reports an error of the parser. What it quotes from the file is left
// out, since that may be part of a secret, such as one that begins with an
// asterisk; a single character is the parser's own word.
func (p *fileParser) notYAML(text []byte, err error) {
	if tab := indentedByTab.FindIndex(text); tab != nil {
		p.found.add("", p.at(1+bytes.Count(text[:tab[0]], []byte("\n"))), "a tab cannot indent YAML; want spaces")
		return
	}
	words, place := strings.TrimPrefix(err.Error(), "yaml: "), "file "+p.path
	if line := yamlLine.FindStringSubmatch(words); line != nil {
		words, place = words[len(line[0]):], place+" line "+line[1]
	}
	words = quoted.ReplaceAllStringFunc(strings.ReplaceAll(words, "\n", " "), func(quote string) string {
		if utf8.RuneCountInString(quote) == len("'x'") {
			return quote
		}
		return "…"
	})
	p.found.add("", place, "not YAML: %s", words)
}
