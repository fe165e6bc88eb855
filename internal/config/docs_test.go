package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the generated files")

// golden compares got with the file at path, or writes it there.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		rewriteShared(t, path, got)
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is stale; run: go test ./internal/config -update\ngot\n%s", path, got)
	}
}

func rewriteShared(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestReferenceIsFresh(t *testing.T) {
	golden(t, filepath.Join("..", "..", "docs", "settings.md"), Reference())
}

// TestReadmeTableIsFresh holds the README to the table once it has the markers.
func TestReadmeTableIsFresh(t *testing.T) {
	path := filepath.Join("..", "..", "README.md")
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	head, rest, begins := strings.Cut(string(text), TableBegin+"\n")
	block, tail, ends := strings.Cut(rest, TableEnd)
	if !begins {
		return
	}
	if !ends {
		t.Fatalf("README.md has %s without %s", TableBegin, TableEnd)
	}
	if *update {
		rewriteShared(t, path, head+TableBegin+"\n"+CompactTable()+TableEnd+tail)
		return
	}
	if block != CompactTable() {
		t.Error("the settings in README.md are stale; run: go test ./internal/config -update")
	}
}

func TestReferenceNamesEverything(t *testing.T) {
	for what, text := range map[string]string{"Reference": Reference(), "CompactTable": CompactTable()} {
		for _, s := range Settings() {
			for _, name := range []string{s.flagName(), s.Env, s.fileKey()} {
				if !strings.Contains(text, codes(name)) {
					t.Errorf("%s lacks %s", what, name)
				}
			}
		}
	}
}
