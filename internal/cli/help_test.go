package cli

import (
	"encoding/json"
	"flag"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/version"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	harness.Golden(t, filepath.Join("testdata", name), got, *update, "./internal/cli")
}

func TestHelpTexts(t *testing.T) {
	for name, tc := range map[string]struct{ args []string }{
		"help.txt":         {[]string{"--help"}},
		"help-token.txt":   {[]string{"token", "--help"}},
		"help-doctor.txt":  {[]string{"doctor", "--help"}},
		"help-help.txt":    {[]string{"help", "-h"}},
		"help-version.txt": {[]string{"version", "-h"}},
		"help-openapi.txt": {[]string{"openapi", "-h"}},
		"help-usage.txt":   {[]string{"usage", "-h"}},
	} {
		got := run(t, tc.args, nil, nil)
		if got.code != 0 || got.stderr != "" {
			t.Errorf("%v: got %+v", tc.args, got)
		}
		golden(t, name, got.stdout)
	}
}

// The man page is the document in the words of man(7): a hyphen stays one that can be
// copied, and no line is taken for a request.
func TestManPageIsFresh(t *testing.T) {
	roff := func(text string) string {
		text = strings.NewReplacer(`\`, `\e`, "-", `\-`, `"`, `\(dq`, "…", "...").Replace(text)
		if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
			text = `\&` + text
		}
		return text
	}
	var document any
	require.NoError(t, json.Unmarshal([]byte(openCLI(t)), &document))
	var page strings.Builder
	require.NoError(t, template.Must(template.New("page.tmpl").Funcs(template.FuncMap{"roff": roff}).ParseFiles("testdata/page.tmpl")).Execute(&page, document))
	golden(t, "../../../deploy/"+Name+".8", page.String())
}

// TestHelpIsTheSameHoweverAsked: also among flags that are wrong.
func TestHelpIsTheSameHoweverAsked(t *testing.T) {
	want := run(t, []string{"--help"}, nil, nil)
	for _, args := range [][]string{{"-h"}, {"help"}, {"help", "--format=text"}, {"help", "-f", "text"}, {"--unknown", "--help"}, {"--addr", "x", "-h"}, {"--addr", "-h", "--help"}, {"--=x", "--help"}, {"-qh", "-o", "/nonexistent/x"}} {
		if got := run(t, args, nil, nil); got != want {
			t.Errorf("%v: got %+v", args, got)
		}
	}
}

func TestOpenCLIDocument(t *testing.T) {
	golden(t, "../opencli.json", openCLI(t))
	want := strings.Replace(document, "@VERSION@", version.String(), 1)
	require.Equal(t, want, run(t, []string{"help", "--format", "opencli"}, nil, nil).stdout)
}

type object = map[string]any

// openCLI is the document in the shape that the platform's dispatcher reads: metadata
// is an object by name, examples are objects.
func openCLI(t *testing.T) string {
	t.Helper()
	list := []object{}
	for _, c := range commands() {
		operands, options, examples := []object{}, []object{}, []object{}
		for _, operand := range c.Operands {
			name, values, required := strings.Cut(operand, "=")
			operands = append(operands, argument(name, values, required))
		}
		for _, o := range c.Options {
			if o.Name != "" {
				options = append(options, describeOption(o))
			}
		}
		for _, e := range c.Examples {
			examples = append(examples, object{"summary": e.Summary, "command": e.Command})
		}
		list = append(list, object{
			"name": c.Name, "summary": c.Summary, "usage": c.Usage, "arguments": operands, "options": options, "examples": examples,
			"exitCodes": []object{
				{"code": ExitOK, "description": "Success."},
				{"code": ExitRuntime, "description": "Failed while running."},
				{"code": ExitUsage, "description": "Wrong flags, environment or file."},
			},
		})
	}
	module := strings.TrimPrefix(Name, "bus-") // the dispatcher finds a binary by its prefix
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	require.NoError(t, encoder.Encode(object{
		"opencli": "0.1.0",
		"info": object{
			"title": Name, "version": "@VERSION@", "summary": summary,
			"description": "Answers GET /api/v1/vm/status and POST /api/v1/vm/start and /stop for bearer tokens with the scopes vm:read and " +
				"vm:write, on a static backend for local checks or on the real runtime through the Bus Events API.",
		},
		"commands": list,
		"metadata": object{
			"io.busdk.profile": object{"version": "0.1", "module": module},
			"io.busdk.environment": object{
				"version": "0.1", "sourceModule": module, "variables": variables(),
				"precedence": []string{"flags", "environment", "file", "platform environment", "defaults"},
			},
		},
	}))
	return b.String()
}

// argument may have values to choose from, separated by bars.
func argument(name, values string, required bool) object {
	a := object{"name": name, "required": required}
	if strings.Contains(values, "|") {
		a["acceptedValues"] = strings.Split(values, "|")
	}
	return a
}

// describeOption says what the dispatcher reads of a value, and what the standard has.
func describeOption(o option) object {
	d := object{"name": o.Name, "description": o.Description, "group": o.Group}
	if o.Aliases != nil {
		d["aliases"] = o.Aliases
	}
	if o.Required {
		d["required"] = true
	}
	if o.ValueName != "" {
		d["valueName"], d["arguments"] = o.ValueName, []object{argument(o.ValueName, o.ValueName, true)}
	}
	if o.Default != "" {
		d["default"] = o.Default
	}
	return d
}

// variables describes every environment name that a setting knows, which the
// platform's tools list, check and redact. Every schema type is string there.
func variables() (list []object) {
	for _, s := range config.Settings() {
		for _, name := range []string{s.Env, s.Ambient} {
			if name == "" {
				continue
			}
			description, schema, mapsTo := s.Help, object{"type": "string"}, []map[string]string{}
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
			v := object{
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

// TestOpenCLIReadsNothing: the document is the same in a hostile environment,
// and json is another name for it.
func TestOpenCLIReadsNothing(t *testing.T) {
	want := run(t, []string{"help", "--format", "opencli"}, nil, nil)
	hostile := []string{"BUS_VM_CONFIG=/nonexistent", "BUS_VM_ADDR=nowhere", "BUS_VM_BACKEND=events", "BUS_EVENTS_API_URL=%zz", "BUS_EVENTS_TOKEN_FILE=.bus/absent", "BUS_VM_X=1", "unknown"}
	for _, args := range [][]string{{"help", "--format=json"}, {"help", "-f", "opencli"}} {
		if got := run(t, args, hostile, nil); got != want || got.code != 0 {
			t.Errorf("%v: got %+v", args, got)
		}
	}
}

// TestVariables: the platform's tools redact what the document calls secret.
func TestVariables(t *testing.T) {
	type variable struct {
		Name         string
		Secret       bool
		SafeHandling struct{ Printable, StoreInDotenv, RedactInLogs bool }
	}
	var doc struct {
		Metadata struct {
			Environment struct{ Variables []variable } `json:"io.busdk.environment"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(run(t, []string{"help", "--format", "opencli"}, nil, nil).stdout), &doc))
	secrets, seen := []string{}, map[string]bool{}
	for _, v := range doc.Metadata.Environment.Variables {
		require.False(t, seen[v.Name], "%s is listed twice", v.Name)
		seen[v.Name] = true
		if v.Secret {
			secrets = append(secrets, v.Name)
		}
		require.Equal(t, variable{v.Name, v.Secret, struct{ Printable, StoreInDotenv, RedactInLogs bool }{!v.Secret, true, v.Secret}}, v)
	}
	require.Equal(t, []string{"BUS_VM_STORE_URL", "BUS_API_TOKEN", "BUS_VM_JWT_SECRET", "BUS_API_JWT_SECRET"}, secrets)
}
