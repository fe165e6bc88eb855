// Command sbom writes the software bill of materials of a Go binary, on stdout: a
// CycloneDX 1.5 document of the modules that the linker recorded in it, the same
// for the same bytes. Its arguments are the version of the binary, the time of the
// build in RFC 3339, and the file.
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"runtime/debug"
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

// The members of the schema (cyclonedx.org/schema/bom-1.5.schema.json) that are
// written.
type (
	document struct {
		Schema       string       `json:"$schema"`
		BOMFormat    string       `json:"bomFormat"`
		SpecVersion  string       `json:"specVersion"`
		SerialNumber string       `json:"serialNumber"`
		Version      int          `json:"version"`
		Metadata     metadata     `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	metadata struct {
		Timestamp string    `json:"timestamp"`
		Component component `json:"component"`
	}
	component struct {
		Type       string     `json:"type"`
		Ref        string     `json:"bom-ref"`
		Name       string     `json:"name"`
		Version    string     `json:"version"`
		Hashes     []hash     `json:"hashes,omitempty"`
		Licenses   []license  `json:"licenses,omitempty"`
		URL        string     `json:"purl"`
		Properties []property `json:"properties,omitempty"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	license struct {
		License struct {
			ID string `json:"id"`
		} `json:"license"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	dependency struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn,omitempty"`
	}
)

func describe(out io.Writer, version, time, file string) error {
	binary, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(binary)
	program := module("application", info.Main.Path, version)
	program.Name = path.Base(info.Main.Path)
	program.Hashes = []hash{{"SHA-256", hex.EncodeToString(sum[:])}}
	program.Licenses = make([]license, 1)
	program.Licenses[0].License.ID = "Apache-2.0"
	for _, s := range info.Settings {
		switch s.Key {
		case "GOOS", "GOARCH", "CGO_ENABLED":
			program.Properties = append(program.Properties, property{"go:" + s.Key, s.Value})
		}
	}
	d := document{
		Schema: "http://cyclonedx.org/schema/bom-1.5.schema.json", BOMFormat: "CycloneDX", SpecVersion: "1.5", Version: 1,
		SerialNumber: uuid.NewSHA1(uuid.NameSpaceURL, sum[:]).URN(), Metadata: metadata{time, program},
		Components: []component{module("library", "stdlib", strings.TrimPrefix(info.GoVersion, "go"))},
	}
	for _, m := range info.Deps {
		d.Components = append(d.Components, library(m))
	}
	needs := dependency{Ref: program.Ref}
	for _, c := range d.Components {
		needs.DependsOn = append(needs.DependsOn, c.Ref)
	}
	d.Dependencies = []dependency{needs} // the binary does not say which module needs which
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(d)
}

// library is a module that is linked, with its sum as in go.sum.
func library(m *debug.Module) component {
	if m.Replace != nil {
		m = m.Replace
	}
	c := module("library", m.Path, m.Version)
	if m.Sum != "" {
		c.Properties = []property{{"go:sum", m.Sum}}
	}
	return c
}

// module is a component with its package URL (package-url.org), in lower case as
// those of Go modules are.
func module(kind, path, version string) component {
	url := "pkg:golang/" + strings.ToLower(path) + "@" + strings.ReplaceAll(version, "+", "%2B")
	return component{Type: kind, Ref: url, Name: path, Version: version, URL: url}
}
