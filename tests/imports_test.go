// Package tests holds the repository to its own rules.
package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/busdk/bus-api-provider-vm"

const (
	ground = 0
	top    = 5
)

// layers is the way of a request, from the ground up. A package imports what
// stands below it; the packages of the ground, which are all others under
// internal, may also import each other, and so may those at the top.
var layers = map[string]int{
	"internal":          ground,
	"backend/lifecycle": ground, // where another application finds it
	"backend":           1,
	"middleware":        2,
	"routes":            3,
	"internal/server":   4,
	"internal/app":      top,
	"internal/cli":      top,
	".":                 6, // main
	"cmd":               7, // main, where the platform looks for it
}

// onlyFor names what only some packages may import.
var onlyFor = map[string][]string{
	"github.com/gofiber":          {"routes", "middleware", "internal/server", "internal/app"},
	module + "/internal/config":   {"internal/cli", "internal/doctor", "internal/server", "internal/app"},
	module + "/internal/fastconn": {"internal/server"},
	"database/sql":                {"internal/store"},
	"github.com/jackc":            {"internal/store"},
	"modernc.org":                 {"internal/store"},
	module + "/routes":            {"internal/server", "internal/app"},
	module + "/internal/app":      {".", "cmd/bus-api-provider-vm"},
	"text/template":               nil, // with it the linker keeps every method, 7 MB
	"github.com/stretchr/testify": nil,
	module + "/tests":             nil,
	"testing":                     nil,
}

// layer is where a package of this module stands.
func layer(pkg string) int {
	for {
		if number, ok := layers[pkg]; ok {
			return number
		}
		pkg = path.Dir(pkg)
	}
}

// forbidden says why importer may not import imported, "" when it may.
func forbidden(importer, imported string) string {
	for prefix, importers := range onlyFor {
		within := imported == prefix || strings.HasPrefix(imported, prefix+"/")
		if within && !slices.Contains(importers, importer) && !strings.HasPrefix(module+"/"+importer+"/", prefix+"/") {
			return "only " + strings.Join(importers, ", ") + " may import " + imported
		}
	}
	own, ok := strings.CutPrefix(imported, module+"/")
	if !ok {
		return ""
	}
	from, to := layer(importer), layer(own)
	if to < from || to == from && (from == ground || from == top) {
		return ""
	}
	return "imports flow from routes down to internal"
}

// eachProductFile calls do for every Go file of this module that is no test.
func eachProductFile(t *testing.T, do func(pkg, name string, file *ast.File)) {
	t.Helper()
	require.NoError(t, fs.WalkDir(os.DirFS(".."), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (name == "tests" || entry.Name() == "testdata" || name != "." && strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", name), nil, 0)
		if err == nil {
			do(path.Dir(name), name, file)
		}
		return err
	}))
}

// TestImports reads the imports of every product file of this module.
func TestImports(t *testing.T) {
	seen := map[string]bool{}
	eachProductFile(t, func(pkg, name string, file *ast.File) {
		seen[pkg] = true
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			assert.Empty(t, forbidden(pkg, imported), "%s imports %s", name, imported)
		}
	})
	for _, pkg := range []string{".", "routes", "middleware", "backend", "internal/server", "internal/app", "internal/cli", "internal/config", "cmd/bus-api-provider-vm"} {
		assert.True(t, seen[pkg], "no files of package %q were read", pkg)
	}
}
