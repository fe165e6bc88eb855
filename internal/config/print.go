package config

import (
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Print writes the effective settings as a YAML file of settings, each with a
// comment that says where its value came from. Secrets are redacted.
func (c *Config) Print(w io.Writer) error {
	root := &yaml.Node{Kind: yaml.MappingNode}
	var head []string
	for _, s := range Settings() {
		text, source := c.origin.values.text(s.Key), c.origin.values.source(s.Key)
		if s.NotInFile {
			head = append(head, fmt.Sprintf("--%s: %q (%s)", s.Flag, text, source))
			continue
		}
		value := &yaml.Node{Kind: yaml.ScalarNode, Value: text, LineComment: source.String()}
		if s.Secret && text != "" {
			value.Value = redacted
		}
		if !s.kind.plain {
			value.Tag = "!!str" // quoted where it would be read as something else
		}
		insert(root, strings.Split(s.Key, "."), value)
	}
	document := &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{root}, HeadComment: strings.Join(head, "\n")}
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(document); err != nil {
		return err
	}
	return encoder.Close()
}

// insert puts value at path below the mapping node.
func insert(node *yaml.Node, path []string, value *yaml.Node) {
	for i := 0; i < len(node.Content); i += 2 {
		if node.Content[i].Value == path[0] {
			insert(node.Content[i+1], path[1:], value)
			return
		}
	}
	if len(path) > 1 {
		section := &yaml.Node{Kind: yaml.MappingNode}
		insert(section, path[1:], value)
		value = section
	}
	node.Content = append(node.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: path[0]}, value)
}
