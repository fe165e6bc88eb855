package cli

import (
	"embed"
	"io"
	"strings"
	"text/template"

	"github.com/busdk/bus-api-provider-vm/internal/config"
)

//go:embed help.tmpl man.tmpl
var templates embed.FS

// printHelp prints the help of c; that of serving lists the commands as well.
func printHelp(w io.Writer, c command) error {
	data := document("")
	data["about"] = c
	return render(w, "help.tmpl", data)
}

// render prints what a template makes of data.
func render(w io.Writer, name string, data any) error {
	page := template.Must(template.New(name).Funcs(template.FuncMap{"roff": roff}).ParseFS(templates, name))
	return page.Execute(w, data)
}

// roff spells text so that a man page shows it as it is: a hyphen stays one
// that can be copied, and no line is taken for a request.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, `"`, `\(dq`, "…", "...").Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}

// document is the OpenCLI document (opencli.org, 0.1) in the shape that the
// platform's dispatcher reads: metadata is an object by name, examples are
// objects. The man page shows it too.
func document(version string) map[string]any {
	module := strings.TrimPrefix(Name, "bus-") // the dispatcher finds a binary by its prefix
	return map[string]any{
		"opencli": "0.1.0",
		"info": map[string]string{
			"title": Name, "version": version, "summary": "VM API provider: status, start and stop of one runtime behind nginx.",
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
