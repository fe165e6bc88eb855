package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The pictures that are published are those of the tables beside them.
func TestPicturesAreOfTheirTables(t *testing.T) {
	for name, charts := range pictures {
		drawn, err := picture(filepath.Join(directory, name+".md"), charts)
		if err != nil {
			t.Fatal(err)
		}
		published, err := os.ReadFile(filepath.Join(directory, name+".svg"))
		if err != nil || string(published) != string(drawn) {
			t.Errorf("docs/bench/%s.svg is not of docs/bench/%[1]s.md; run `just bench-plots` (%v)", name, err)
		}
		for _, c := range charts {
			for _, words := range []string{c.title, c.axis, c.size} {
				if !strings.Contains(string(drawn), ">"+words) {
					t.Errorf("%s.svg lacks %q", name, words)
				}
			}
		}
	}
}

// A report without one of its tables, or with another in its place, makes no picture.
func TestIncompleteReports(t *testing.T) {
	const head = "# Speed\n\n## Memory\n\n|  | CPU µs |\n| --- | --- |\n"
	for text, want := range map[string]string{
		"# Speed\n":            "no such section",
		"# Speed\n## Memory\n": "no table",
		head + "| we | — |\n":  "invalid syntax",
		head + "| we |\n":      "no column",
		strings.Replace(head, "CPU", "GPU", 1) + "| we | 1 |\n": "no column",
	} {
		if _, err := (chart{section: "Memory", column: "CPU µs"}).rows(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
