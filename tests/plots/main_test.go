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
