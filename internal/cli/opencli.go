package cli

import (
	"encoding/json"
	"io"

	"github.com/busdk/bus-api-provider-vm/internal/config"
)

// The OpenCLI document (opencli.org, 0.1) in the shape that the platform's
// dispatcher reads: metadata is an object by name, examples are objects.
type (
	document struct {
		OpenCLI  string         `json:"opencli"`
		Info     documentInfo   `json:"info"`
		Commands []documentCmd  `json:"commands"`
		Metadata map[string]any `json:"metadata"`
	}
	documentInfo struct {
		Title       string `json:"title"`
		Version     string `json:"version"`
		Summary     string `json:"summary"`
		Description string `json:"description"`
	}
	documentCmd struct {
		Name      string             `json:"name"`
		Summary   string             `json:"summary"`
		Usage     string             `json:"usage"`
		Arguments []documentArgument `json:"arguments"`
		Options   []documentOption   `json:"options"`
		Examples  []example          `json:"examples"`
		ExitCodes []documentExit     `json:"exitCodes"`
	}
	documentArgument struct {
		Name           string   `json:"name"`
		Required       bool     `json:"required"`
		AcceptedValues []string `json:"acceptedValues,omitempty"`
	}
	documentOption struct {
		Name        string             `json:"name"`
		Aliases     []string           `json:"aliases,omitempty"`
		Description string             `json:"description"`
		Group       string             `json:"group"`
		Required    bool               `json:"required,omitempty"`
		ValueName   string             `json:"valueName,omitempty"`
		Default     string             `json:"default,omitempty"`
		Arguments   []documentArgument `json:"arguments,omitempty"`
	}
	documentExit struct {
		Code        int    `json:"code"`
		Description string `json:"description"`
	}
)

const (
	openCLIVersion = "0.1.0"
	// module is the name by which the dispatcher finds this binary: bus-<module>.
	module      = "api-provider-vm"
	description = "Answers GET /api/v1/vm/status and POST /api/v1/vm/start and /stop for bearer tokens with the scopes vm:read and " +
		"vm:write, on a static backend for local checks or on the real runtime through the Bus Events API."
	// metadataVersion is that of the platform's own metadata members.
	metadataVersion = "0.1"
)

// printOpenCLI prints the document.
func printOpenCLI(w io.Writer, version string) error {
	doc := document{
		OpenCLI: openCLIVersion,
		Info:    documentInfo{Title: Name, Version: version, Summary: summary, Description: description},
		Metadata: map[string]any{
			"io.busdk.profile":     map[string]string{"version": metadataVersion, "module": module},
			"io.busdk.environment": environment(),
		},
	}
	for _, c := range commands() {
		doc.Commands = append(doc.Commands, documentCmd{
			Name: c.name, Summary: c.summary, Usage: c.usage,
			Arguments: append([]documentArgument{}, c.arguments...),
			Options:   options(c), Examples: c.examples, ExitCodes: exitCodes(),
		})
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(doc)
}

// exitCodes are the same for every command.
func exitCodes() []documentExit {
	return []documentExit{
		{ExitOK, "Success."},
		{ExitRuntime, "Failed while running."},
		{ExitUsage, "Wrong flags, environment or file."},
	}
}

// options lists the settings with a flag, then what is the command's own.
func options(c command) []documentOption {
	list := []documentOption{}
	for _, s := range c.settings() {
		if s.Flag == "" {
			continue
		}
		list = append(list, documentOption{
			Name: "--" + s.Flag, Description: s.Help, Group: s.Group, Default: s.Default,
			ValueName: valueName(s), Arguments: valueOf(valueName(s), s.Choices),
		})
	}
	list = appendOptions(list, groupCommand, c.options)
	return appendOptions(list, groupGlobal, c.globalOptions())
}

func appendOptions(list []documentOption, group string, options []option) []documentOption {
	for _, o := range options {
		var accepted []string
		if words := o.words(); len(words) > 1 {
			accepted = words
		}
		list = append(list, documentOption{
			Name: "--" + o.flag, Aliases: aliases(o.short), Description: o.usage, Group: group, Required: o.required,
			ValueName: o.valueName, Default: o.fallback, Arguments: valueOf(o.valueName, accepted),
		})
	}
	return list
}

func aliases(short string) []string {
	if short == "" {
		return nil
	}
	return []string{"-" + short}
}

// valueOf is the one argument of an option that wants a value. The dispatcher
// reads valueName, the standard has arguments; both say the same.
func valueOf(name string, accepted []string) []documentArgument {
	if name == "" {
		return nil
	}
	return []documentArgument{{Name: name, Required: true, AcceptedValues: accepted}}
}

// The platform's own part of the document, which its tools read to list, check
// and redact the environment of a module. Every schema type is string there.
type (
	environmentDoc struct {
		Version      string     `json:"version"`
		SourceModule string     `json:"sourceModule"`
		Precedence   []string   `json:"precedence"`
		Variables    []variable `json:"variables"`
	}
	variable struct {
		Name         string       `json:"name"`
		Description  string       `json:"description"`
		Secret       bool         `json:"secret"`
		Default      string       `json:"default,omitempty"`
		Schema       schema       `json:"schema"`
		MapsTo       []mapping    `json:"mapsTo"` // flag and key of the same setting
		SafeHandling safeHandling `json:"safeHandling"`
	}
	schema struct {
		Type string   `json:"type"`
		Enum []string `json:"enum,omitempty"`
	}
	mapping struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	}
	safeHandling struct {
		Printable     bool `json:"printable"`
		StoreInDotenv bool `json:"storeInDotenv"`
		RedactInLogs  bool `json:"redactInLogs"`
	}
)

// environment describes every environment name that a setting knows.
func environment() environmentDoc {
	doc := environmentDoc{
		Version: metadataVersion, SourceModule: module,
		Precedence: []string{"flags", "environment", "file", "platform environment", "defaults"},
	}
	for _, s := range config.Settings() {
		for _, name := range []string{s.Env, s.Ambient} {
			if name == "" {
				continue
			}
			v := variable{
				Name: name, Description: s.Help, Secret: s.Secret, Default: s.Default,
				Schema:       schema{"string", s.Choices},
				SafeHandling: safeHandling{Printable: !s.Secret, StoreInDotenv: true, RedactInLogs: s.Secret},
			}
			if name == s.Ambient {
				v.Description += " Counts only where nothing else sets it."
			}
			if s.Flag != "" {
				v.MapsTo = append(v.MapsTo, mapping{"flag", "--" + s.Flag})
			}
			if !s.NotInFile {
				v.MapsTo = append(v.MapsTo, mapping{"config", s.Key})
			}
			doc.Variables = append(doc.Variables, v)
		}
	}
	return doc
}
