package config

import (
	"flag"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

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
