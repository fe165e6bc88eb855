package main

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// required are the members that the schema of CycloneDX 1.5 wants in the objects that
// are written, by the name of the object.
var required = map[string][]string{
	"":             {"bomFormat", "specVersion"},
	"component":    {"type", "name"},
	"hashes":       {"alg", "content"},
	"licenses":     {"license"},
	"license":      {"id"},
	"dependencies": {"ref"},
}

// The document of the real binary is whole, names every module in it once, and is
// the same each time.
func TestDocument(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "binary")
	require.NoError(t, harness.Build("../..", binary))
	const version = "1.2.3+4.gabc"
	var first, again bytes.Buffer
	require.NoError(t, describe(&first, version, "2026-01-02T03:04:05Z", binary))
	require.NoError(t, describe(&again, version, "2026-01-02T03:04:05Z", binary))
	require.Equal(t, first.String(), again.String())

	var whole map[string]any
	require.NoError(t, json.Unmarshal(first.Bytes(), &whole))
	require.Equal(t, "CycloneDX", whole["bomFormat"])
	require.Equal(t, "1.5", whole["specVersion"])
	require.Regexp(t, `^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`, whole["serialNumber"])
	require.InDelta(t, 1, whole["version"], 0)
	complete(t, "", whole)

	type component struct {
		Ref           string `json:"bom-ref"`
		URL           string `json:"purl"`
		Name, Version string
		Hashes        []struct{ Content string }
	}
	var d struct {
		Metadata     struct{ Component component }
		Components   []component
		Dependencies []struct {
			Ref       string
			DependsOn []string
		}
	}
	require.NoError(t, json.Unmarshal(first.Bytes(), &d))
	require.Equal(t, "bus-api-provider-vm", d.Metadata.Component.Name)
	require.Equal(t, version, d.Metadata.Component.Version)
	require.Equal(t, "pkg:golang/github.com/busdk/bus-api-provider-vm@1.2.3%2B4.gabc", d.Metadata.Component.URL)
	require.Regexp(t, `^[0-9a-f]{64}$`, d.Metadata.Component.Hashes[0].Content)

	info, err := buildinfo.ReadFile(binary)
	require.NoError(t, err)
	require.Len(t, d.Components, len(info.Deps)+1, "all modules and the standard library")
	refs := map[string]bool{d.Metadata.Component.Ref: true}
	for _, c := range d.Components {
		require.False(t, refs[c.Ref], "%s is there twice", c.Ref)
		refs[c.Ref] = true
	}
	for _, m := range info.Deps {
		require.True(t, refs["pkg:golang/"+strings.ToLower(m.Path)+"@"+strings.ReplaceAll(m.Version, "+", "%2B")], m.Path)
	}
	require.True(t, refs["pkg:golang/stdlib@"+strings.TrimPrefix(info.GoVersion, "go")])
	for _, ref := range append(d.Dependencies[0].DependsOn, d.Dependencies[0].Ref) {
		require.True(t, refs[ref], ref)
	}
	require.Len(t, d.Dependencies[0].DependsOn, len(d.Components))
}

// complete wants the required members of an object and of all within it, none empty.
func complete(t *testing.T, place string, object map[string]any) {
	t.Helper()
	if place == "components" {
		place = "component"
	}
	for _, name := range required[place] {
		require.NotEmpty(t, object[name], "%s in %s", name, place)
	}
	for name, value := range object {
		switch value := value.(type) {
		case map[string]any:
			complete(t, name, value)
		case []any:
			for _, each := range value {
				if within, ok := each.(map[string]any); ok {
					complete(t, name, within)
				}
			}
		}
	}
}
