package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

func TestPrint(t *testing.T) {
	path := harness.File(t, "config.yaml", "timeout: 5\nevents: {token_file: x}\nstatic: {state: 'no'}\n")
	c := loaded(t, Input{
		Flags: flagsOf("--dev", "--verbose", "--config="+path),
		Environ: []string{
			"BUS_API_TOKEN=hunter2", "BUS_VM_SOCKET_GROUP=a # b", "STATE_DIRECTORY=/var/lib/vm",
			"BUS_VM_SOCKET_MODE=0600",
		},
	})
	golden(t, filepath.Join("testdata", "print-config.yaml"), strings.ReplaceAll(printed(t, c), path, "PATH"))
}

// TestPrintedSettingsLoadAgain: what was printed is a file of settings that
// means the same, secrets aside.
func TestPrintedSettingsLoadAgain(t *testing.T) {
	for _, s := range Settings() {
		if s.NotInFile || s.Secret {
			continue
		}
		_, high := samples(t, s)
		first, _ := parse(Input{Environ: []string{s.Env + "=" + high}})
		path := harness.File(t, "printed.yaml", printed(t, first))
		second, _ := parse(Input{Environ: []string{"BUS_VM_CONFIG=" + path}})
		require.NoError(t, second.origin.found.OrNil(), s.Key)
		second.File = ""
		same(t, second, first)
	}
}

// TestSampleFile holds config.yaml to the table: every key, each at its default.
func TestSampleFile(t *testing.T) {
	path := filepath.Join("..", "..", "config.yaml")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	sample := map[string]any{}
	require.NoError(t, yaml.Unmarshal(text, &sample))
	for _, s := range Settings() {
		in, name := sample, s.Key
		if section, last, below := strings.Cut(s.Key, "."); below {
			in, name = sample[section].(map[string]any), last
		}
		if !s.NotInFile {
			require.Contains(t, in, name, "config.yaml lacks %s", s.Key)
		}
	}
	for _, environ := range [][]string{nil, {"STATE_DIRECTORY=/var/lib/vm", "BUS_API_JWT_SECRET=" + testSecret}} {
		environ := append(environ, "BUS_VM_JWT_SECRET="+testSecret)
		got := loaded(t, Input{Environ: append(environ, "BUS_VM_CONFIG="+path)})
		got.File = ""
		same(t, got, loaded(t, Input{Environ: environ}))
	}
}

var update = flag.Bool("update", false, "rewrite the generated files")

func golden(t *testing.T, path, got string) {
	harness.Golden(t, path, got, *update, "./internal/config")
}

// rendered is a template of testdata with the settings.
func rendered(t *testing.T, name string) string {
	t.Helper()
	codes := func(text string) string {
		if text != "" {
			text = "`" + strings.ReplaceAll(text, "|", "\\|") + "`"
		}
		return text
	}
	page := template.Must(template.New(name).Funcs(template.FuncMap{"code": codes}).ParseFiles(filepath.Join("testdata", name)))
	var b strings.Builder
	require.NoError(t, page.Execute(&b, Settings()))
	return b.String()
}

func TestReferenceIsFresh(t *testing.T) {
	golden(t, filepath.Join("..", "..", "docs", "settings.md"), rendered(t, "settings.tmpl"))
}
