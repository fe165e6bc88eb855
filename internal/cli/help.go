package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/busdk/bus-api-provider-vm/internal/config"
)

const (
	summary = "VM API provider: status, start and stop of one runtime behind nginx."
	rules   = `
Flags win over the environment, the environment over the file, the file over defaults.
Booleans are 1 true yes on or 0 false no off; a bare integer as a duration is seconds.
Exit codes: 0 success, 1 failed while running, 2 wrong flags, environment or file.
`
)

// printHelp prints the help of c; that of serving lists the commands as well.
// text/template would add 7 MB to the binary: the linker then keeps every method.
func printHelp(w io.Writer, c command) error {
	about, usages, tail := c.Summary, []command{c}, ""
	var b strings.Builder
	if c.Name == Name {
		about, usages, tail = Name+" — "+summary, commands(), rules
	}
	fmt.Fprintf(&b, "%s\n\nUsage:\n", about)
	for _, each := range usages {
		fmt.Fprintf(&b, "  %s\n", each.Usage)
		if c.Name == Name {
			fmt.Fprintf(&b, "      %s\n", each.Summary)
		}
	}
	b.WriteString("\nExamples:\n")
	for _, e := range c.Examples {
		fmt.Fprintf(&b, "  %s\n      %s\n", e.Command, e.Summary)
	}
	group := ""
	for _, o := range c.Entries {
		if o.Group != group {
			group = o.Group
			fmt.Fprintf(&b, "\n%s:\n", group)
		}
		fmt.Fprintf(&b, "%s\n          %s", o.head(), o.Description)
		if o.Default != "" {
			fmt.Fprintf(&b, " Default: %s.", o.Default)
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String()+tail)
	return err
}

// document is the OpenCLI document (opencli.org, 0.1) in the shape that the
// platform's dispatcher reads: metadata is an object by name, examples are
// objects.
func document(version string) map[string]any {
	module := strings.TrimPrefix(Name, "bus-") // the dispatcher finds a binary by its prefix
	return map[string]any{
		"opencli": "0.1.0",
		"info": map[string]string{
			"title": Name, "version": version, "summary": summary,
			"description": "Answers GET /api/v1/vm/status and POST /api/v1/vm/start and /stop for bearer tokens with the scopes vm:read and " +
				"vm:write, on a static backend for local checks or on the real runtime through the Bus Events API.",
		},
		"commands": commands(),
		"metadata": map[string]any{
			"io.busdk.profile": map[string]string{"version": "0.1", "module": module},
			"io.busdk.environment": map[string]any{
				"version": "0.1", "sourceModule": module, "variables": variables(),
				"precedence": []string{"flags", "environment", "file", "platform environment", "defaults"},
			},
		},
	}
}

// variables describes every environment name that a setting knows, which the
// platform's tools list, check and redact. Every schema type is string there.
func variables() (list []map[string]any) {
	for _, s := range config.Settings() {
		for _, name := range []string{s.Env, s.Ambient} {
			if name == "" {
				continue
			}
			description, schema, mapsTo := s.Help, map[string]any{"type": "string"}, []map[string]string{}
			if name == s.Ambient {
				description += " Counts only where nothing else sets it."
			}
			if len(s.Choices) > 0 {
				schema["enum"] = s.Choices
			}
			if s.Flag != "" {
				mapsTo = append(mapsTo, map[string]string{"kind": "flag", "name": s.Flag})
			}
			if !s.NotInFile {
				mapsTo = append(mapsTo, map[string]string{"kind": "config", "name": s.Key})
			}
			v := map[string]any{
				"name": name, "description": description, "secret": s.Secret, "schema": schema, "mapsTo": mapsTo,
				"safeHandling": map[string]bool{"printable": !s.Secret, "storeInDotenv": true, "redactInLogs": s.Secret},
			}
			if s.Default != "" {
				v["default"] = s.Default
			}
			list = append(list, v)
		}
	}
	return list
}
