package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the generated files")

// golden compares got with the file at path, or writes it there.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	is, wanted := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(is), len(wanted)) {
		if i >= len(is) || i >= len(wanted) || is[i] != wanted[i] {
			t.Fatalf("%s is stale from line %d on, where the code says now:\n%s\nrun: go test ./internal/config -update", path, i+1,
				strings.Join(is[min(i, len(is)):min(i+3, len(is))], "\n"))
		}
	}
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
