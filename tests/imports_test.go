// Package tests holds the repository to its own rules.
package tests

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/busdk/bus-api-provider-vm"

// layers is the way of a request, from the ground up. A package imports what
// stands below it; the packages of the ground, which are all others under
// internal, may also import each other, and so may those at the top.
var layers = []string{
	"internal",
	"backend",
	"middleware",
	"routes",
	"internal/server",
	"internal/app", // with internal/cli
	"",             // main
	"cmd",          // main, where the platform looks for it
}

const (
	ground = 0
	top    = 5
)

// onlyFor names what only some packages may import.
var onlyFor = map[string][]string{
	"github.com/gofiber/":         {"routes", "middleware", "internal/server", "internal/app"},
	module + "/internal/config":   {"internal/cli", "internal/doctor", "internal/server", "internal/app"},
	module + "/internal/fastconn": {"internal/server"},
	module + "/routes":            {"internal/server", "internal/app", ""},
	module + "/internal/app":      {"", "cmd/bus-api-provider-vm"},
	"github.com/stretchr/testify": nil,
	module + "/tests":             nil,
	"testing":                     nil,
}

// layer is where a package of this module stands.
func layer(pkg string) int {
	if pkg == "internal/cli" || strings.HasPrefix(pkg, "internal/cli/") {
		return top
	}
	found := ground
	for i, prefix := range layers {
		if prefix == pkg || prefix != "" && strings.HasPrefix(pkg, prefix+"/") {
			found = i
		}
	}
	return found
}

// forbidden says why importer may not import path, "" when it may.
func forbidden(importer, path string) string {
	for prefix, importers := range onlyFor {
		within := path == strings.TrimSuffix(prefix, "/") || strings.HasPrefix(path, strings.TrimSuffix(prefix, "/")+"/")
		if within && !slices.Contains(importers, importer) && !strings.HasPrefix(module+"/"+importer, prefix) {
			return "only " + strings.Join(importers, ", ") + " may import " + path
		}
	}
	own, ok := strings.CutPrefix(path, module+"/")
	if !ok {
		return ""
	}
	from, to := layer(importer), layer(own)
	if to < from || to == from && (from == ground || from == top) {
		return ""
	}
	return "imports flow from routes down to internal"
}

// TestImports reads the imports of every product file of this module.
func TestImports(t *testing.T) {
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	seen := map[string]bool{}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, _ := filepath.Rel(root, path)
		if entry.IsDir() {
			if relative != "." && (strings.HasPrefix(entry.Name(), ".") || relative == "tests" || entry.Name() == "testdata" || isModule(path)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(filepath.Dir(relative))
		if pkg == "." {
			pkg = ""
		}
		seen[pkg] = true
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if why := forbidden(pkg, imported); why != "" {
				t.Errorf("%s imports %s: %s", relative, imported, why)
			}
		}
		return nil
	})
	require.NoError(t, err)
	for _, pkg := range []string{"", "routes", "middleware", "backend", "internal/server", "internal/app", "internal/cli", "internal/config", "cmd/bus-api-provider-vm"} {
		assert.True(t, seen[pkg], "no files of package %q were read", pkg)
	}
}

func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}
