package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The page of the real document names every flag and variable of the help, and
// no line of it is an accidental request.
func TestPageNamesEverything(t *testing.T) {
	document, err := os.Open("../../internal/cli/testdata/opencli.json")
	require.NoError(t, err)
	defer document.Close()
	var page strings.Builder
	require.NoError(t, render(document, &page, "2026-01-02"))

	help, err := os.ReadFile("../../internal/cli/testdata/help.txt")
	require.NoError(t, err)
	plain := strings.NewReplacer(`\-`, "-", `\(dq`, `"`).Replace(page.String())
	for word := range strings.FieldsSeq(string(help)) {
		word = strings.Trim(word, ",.;=")
		if strings.HasPrefix(word, "--") || strings.HasPrefix(word, "BUS_") {
			name, _, _ := strings.Cut(word, "=")
			require.Contains(t, plain, name)
		}
	}
	require.Contains(t, plain, `token --scope "vm:read vm:write"`)
	requests := map[string]bool{".TH": true, ".SH": true, ".PP": true, ".TP": true, ".B": true, ".BR": true, ".I": true, ".EX": true, ".EE": true}
	for line := range strings.Lines(page.String()) {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			require.True(t, requests[strings.Fields(line)[0]], line)
		}
	}
}
