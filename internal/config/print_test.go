package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestPrint(t *testing.T) {
	path := writeFile(t, "config.yaml", "timeout: 5\nevents: {token_file: x}\nstatic: {state: 'no'}\n")
	c := loaded(t, Input{
		Flags: flagsOf("--dev", "--verbose", "--config="+path),
		Environ: []string{
			"BUS_API_TOKEN=hunter2", "BUS_VM_SOCKET_GROUP=a # b", "STATE_DIRECTORY=/var/lib/vm",
			"BUS_VM_SOCKET_MODE=0600",
		},
	})
	var b strings.Builder
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	got := strings.ReplaceAll(b.String(), path, "PATH")
	golden(t, filepath.Join("testdata", "print-config.yaml"), got)
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
		var b strings.Builder
		if err := first.Print(&b); err != nil {
			t.Fatal(err)
		}
		path := writeFile(t, "printed.yaml", b.String())
		second, _ := parse(Input{Environ: []string{"BUS_VM_CONFIG=" + path}})
		if err := second.origin.found.OrNil(); err != nil {
			t.Fatalf("%s: %v", s.Key, err)
		}
		second.File = ""
		same(t, second, first)
	}
}

// TestSampleFile holds config.yaml to the table: every key, each at its default.
func TestSampleFile(t *testing.T) {
	path := filepath.Join("..", "..", "config.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sample := map[string]any{}
	if err := yaml.Unmarshal(text, &sample); err != nil {
		t.Fatal(err)
	}
	for _, s := range Settings() {
		in, name := sample, s.Key
		if section, last, below := strings.Cut(s.Key, "."); below {
			in, name = sample[section].(map[string]any), last
		}
		if _, there := in[name]; !there && !s.NotInFile {
			t.Errorf("config.yaml lacks %s", s.Key)
		}
	}
	for _, environ := range [][]string{nil, {"STATE_DIRECTORY=/var/lib/vm", "BUS_API_JWT_SECRET=" + testSecret}} {
		environ := append(environ, "BUS_VM_JWT_SECRET="+testSecret)
		got := loaded(t, Input{Environ: append(environ, "BUS_VM_CONFIG="+path)})
		got.File = ""
		same(t, got, loaded(t, Input{Environ: environ}))
	}
}
