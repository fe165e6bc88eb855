package platform_test

import (
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// The platform judges the provider, so it shares no code with it.
func TestImportsNothingOfTheProvider(t *testing.T) {
	const module = "github.com/busdk/bus-api-provider-vm/"
	for _, dir := range []string{".", "cmd/busstack"} {
		entries, err := os.ReadDir(dir)
		must(t, err)
		for _, entry := range entries {
			if !strings.HasSuffix(entry.Name(), ".go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), dir+"/"+entry.Name(), nil, parser.ImportsOnly)
			must(t, err)
			for _, imported := range file.Imports {
				path, ours := strings.CutPrefix(strings.Trim(imported.Path.Value, `"`), module)
				if ours && path != "tests/platform" {
					t.Errorf("%s imports %s", entry.Name(), path)
				}
			}
		}
	}
}
