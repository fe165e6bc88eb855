// Command sbom writes the software bill of materials of a Go binary, on stdout: a
// CycloneDX 1.5 document of the modules that the linker recorded in it, the same
// for the same bytes. Its arguments are the version of the binary, the time of the
// build in RFC 3339, and the file.
package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/google/uuid"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: sbom VERSION TIME FILE")
		os.Exit(2)
	}
	if err := describe(os.Stdout, os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

// object is one of the schema (cyclonedx.org/schema/bom-1.5.schema.json).
type object = map[string]any

func describe(out io.Writer, version, time, file string) error {
	binary, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		return err
	}
	components := []object{module("library", "stdlib", strings.TrimPrefix(info.GoVersion, "go"))}
	for _, m := range info.Deps {
		m = cmp.Or(m.Replace, m)
		c := module("library", m.Path, m.Version)
		if m.Sum != "" { // as in go.sum
			c["properties"] = []object{{"name": "go:sum", "value": m.Sum}}
		}
		components = append(components, c)
	}
	var needs []any
	for _, c := range components {
		needs = append(needs, c["bom-ref"])
	}
	sum := sha256.Sum256(binary)
	program := module("application", info.Main.Path, version)
	program["name"] = path.Base(info.Main.Path)
	program["hashes"] = []object{{"alg": "SHA-256", "content": hex.EncodeToString(sum[:])}}
	program["licenses"] = []object{{"license": object{"id": "Apache-2.0"}}}
	var built []object
	for _, s := range info.Settings {
		if slices.Contains([]string{"GOOS", "GOARCH", "CGO_ENABLED"}, s.Key) {
			built = append(built, object{"name": "go:" + s.Key, "value": s.Value})
		}
	}
	program["properties"] = built
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(object{
		"$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
		"serialNumber": uuid.NewSHA1(uuid.NameSpaceURL, sum[:]).URN(),
		"metadata":     object{"timestamp": time, "component": program},
		"components":   components,
		"dependencies": []object{{"ref": program["bom-ref"], "dependsOn": needs}}, // the binary does not say which module needs which
	})
}

// module is a component with its package URL (package-url.org), in lower case as
// those of Go modules are.
func module(kind, path, version string) object {
	url := "pkg:golang/" + strings.ToLower(path) + "@" + strings.ReplaceAll(version, "+", "%2B")
	return object{"type": kind, "bom-ref": url, "name": path, "version": version, "purl": url}
}
