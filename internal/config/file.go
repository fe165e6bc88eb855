package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/knadh/koanf/maps"
	"go.yaml.in/yaml/v3"
)

// fileParser is a koanf.Parser that keeps every value the text it is in the
// file, so that 0660 stays a mode and 1e3 is no number, and that finds unknown
// and repeated keys. Null and empty values count as unset: a section without a
// value must not wipe the defaults below it.
type fileParser struct {
	path  string
	table map[string]Setting
	texts map[string]any
	lines map[string]int
	found *problems
}

// from names the place of a key.
func (p *fileParser) from(key string) string { return p.at(p.lines[key]) }

func (p *fileParser) at(line int) string { return fmt.Sprintf("file %s line %d", p.path, line) }

// Unmarshal returns the settings in text as nested maps. What is wrong goes to
// found; the rest is returned all the same. The error is for text that is not
// YAML.
func (p *fileParser) Unmarshal(text []byte) (map[string]any, error) {
	p.texts, p.lines = map[string]any{}, map[string]int{}
	var document yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, nil // nothing but comments
	case err != nil:
		return nil, fmt.Errorf("not YAML: %s", withoutQuotes(err))
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		p.found.add("", "file "+p.path, "want one YAML document only")
	}
	p.section("", document.Content[0])
	return maps.Unflatten(p.texts, "."), nil
}

// Marshal makes fileParser a koanf.Parser; settings are printed by Print.
func (p *fileParser) Marshal(map[string]any) ([]byte, error) {
	return nil, errors.New("BUG: settings are never written this way")
}

// section reads the mapping below prefix, which is empty or ends in a dot.
func (p *fileParser) section(prefix string, node *yaml.Node) {
	node = resolve(node)
	if isNull(node) {
		return
	}
	if node.Kind != yaml.MappingNode {
		p.found.add(strings.TrimSuffix(prefix, "."), p.at(node.Line), "want settings as `key: value`")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, child := node.Content[i], node.Content[i+1]
		key := prefix + name.Value
		_, known := p.table[key]
		sub := p.keysBelow(key + ".")
		switch {
		case name.Kind != yaml.ScalarNode || strings.Contains(name.Value, ".") || !known && len(sub) == 0:
			p.found.add(strings.TrimSuffix(prefix, "."), p.at(name.Line), "unknown key %s; known here: %s",
				quote(name.Value), strings.Join(p.keysBelow(prefix), ", "))
		case seen[key]:
			p.found.add(key, p.at(name.Line), "stands twice in the file")
		case known:
			p.leaf(key, resolve(child))
		default:
			p.section(key+".", child)
		}
		seen[key] = true
	}
}

// leaf reads the value of one setting.
func (p *fileParser) leaf(key string, node *yaml.Node) {
	p.lines[key] = node.Line
	s := p.table[key]
	switch {
	case node.Kind == yaml.ScalarNode:
		if !isNull(node) && node.Value != "" {
			p.texts[key] = node.Value
		}
	case node.Kind == yaml.MappingNode && s.kind.mapping:
		text, err := asJSON(node)
		if err != nil {
			p.found.add(key, p.at(node.Line), "want %s", s.Allowed())
			return
		}
		p.texts[key] = text
	default:
		p.found.add(key, p.at(node.Line), "want one value: %s", s.Allowed())
	}
}

// keysBelow lists the settings and sections right below prefix.
func (p *fileParser) keysBelow(prefix string) []string {
	var keys []string
	for key := range p.table {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			name, _, _ := strings.Cut(rest, ".")
			keys = append(keys, name)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func resolve(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }

// asJSON renders a mapping.
func asJSON(node *yaml.Node) (string, error) {
	var object map[string]any
	if err := node.Decode(&object); err != nil {
		return "", err
	}
	text, err := json.Marshal(object)
	return string(text), err
}

var quoted = regexp.MustCompile("'[^']*'|\"[^\"]*\"|`[^`]*`")

// withoutQuotes drops what a parser error quotes from the file: it may be part
// of a secret, such as one that begins with an asterisk. A single character is
// the parser's own word.
func withoutQuotes(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	return quoted.ReplaceAllStringFunc(strings.ReplaceAll(text, "\n", " "), func(quote string) string {
		if utf8.RuneCountInString(quote) == len("'x'") {
			return quote
		}
		return "…"
	})
}
