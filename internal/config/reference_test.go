package config

import (
	"fmt"
	"strings"
)

// The markers between which a document holds CompactTable.
const (
	TableBegin = "<!-- settings:begin -->"
	TableEnd   = "<!-- settings:end -->"
)

// CompactTable renders the settings as one Markdown table for the README.
func CompactTable() string {
	var b strings.Builder
	b.WriteString("| flag | environment | key in the file | default | what |\n|---|---|---|---|---|\n")
	for _, s := range Settings() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n",
			codes(s.flagName()), codes(s.Env), codes(s.fileKey()), codes(s.Default), cell(s.Help))
	}
	return b.String()
}

// Reference renders docs/settings.md.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	group := ""
	for _, s := range Settings() {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&b, "\n## %s\n", group)
		}
		b.WriteString(s.reference())
	}
	b.WriteString("\n## All on one page\n\n" + TableBegin + "\n" + CompactTable() + TableEnd + "\n")
	return b.String()
}

// reference renders one setting in full.
func (s Setting) reference() string {
	var b strings.Builder
	name := s.fileKey()
	if name == "" {
		name = "--" + s.Flag
	}
	fmt.Fprintf(&b, "\n### `%s`\n\n%s\n\n", name, s.Help)
	line := func(what, text string) {
		if text != "" {
			fmt.Fprintf(&b, "- %s: %s\n", what, text)
		}
	}
	line("Flag", codes(s.flagName()))
	line("Environment", codes(s.Env))
	line("Where nothing else sets it", codes(s.Ambient))
	line("Allowed", s.Allowed)
	if s.Default == "" {
		line("Default", "none")
	} else {
		line("Default", codes(s.Default))
	}
	line("While running", s.Reload)
	return b.String()
}

func (s Setting) flagName() string {
	if s.Flag == "" {
		return ""
	}
	return "--" + s.Flag
}

func (s Setting) fileKey() string {
	if s.NotInFile {
		return ""
	}
	return s.Key
}

// codes renders names as code, the empty ones left out.
func codes(names ...string) string {
	var b []string
	for _, name := range names {
		if name != "" {
			b = append(b, "`"+cell(name)+"`")
		}
	}
	return strings.Join(b, ", ")
}

// cell keeps text from ending its column.
func cell(text string) string { return strings.ReplaceAll(text, "|", "\\|") }

const referenceHead = `# Settings

<!-- Written by: go test ./internal/config -update -->

Flags win over the environment, the environment over the YAML file (` + "`--config`" + `, ` + "`BUS_VM_CONFIG`" + `), the file
over what the platform sets for every process, and that over the defaults. An unknown flag, an unknown key in the
file or a bad value ends the process with exit code 2 and one message that names everything that is wrong; an
unknown ` + "`BUS_VM_…`" + ` name in the environment is a warning.

- ` + "`--check-config`" + ` says whether the settings are right, ` + "`--print-config`" + ` what they are and where each comes from.
- Booleans are ` + "`1 true yes on`" + ` or ` + "`0 false no off`" + `. Durations take Go's syntax; a bare integer is seconds.
- An empty value in the environment or in the file counts as unset.
- The platform's global flags are taken in front of each command and behind it: ` + "`-v`" + ` (debug), ` + "`-q`, `--quiet`" + ` (errors alone, no
  results), ` + "`--trace`" + ` (debug with the place in the source), ` + "`-C`, `--chdir`" + ` (before anything is read), ` + "`-o`, `--output`" + ` (results
  go to a file), ` + "`-f`, `--format`, `--color`, `--no-color`, `-V`, `-h`" + `. A directory or file that cannot be used is exit code 1.
- Secrets have no flag: every user of a machine can read a command line. Each has a file form instead. A file
  ` + "`jwt-secret` or `api-token`" + ` in ` + "`$CREDENTIALS_DIRECTORY`" + ` (` + "`LoadCredential=`" + ` of systemd) is found when nothing else is set.
- A JWT secret file holds one secret a line; blank lines and lines that begin with ` + "`#`" + ` do not count. A secret is taken as it
  is written, unless it begins with ` + "`base64:`" + `, padded or not.
- The token towards Events comes from ` + "`--token-file` or `BUS_API_TOKEN_FILE`" + `, else ` + "`BUS_API_TOKEN`" + `, else the YAML file, else
  ` + "`BUS_EVENTS_TOKEN_FILE`" + ` if that file exists.
- A running service follows changed files within two seconds, and at once on SIGHUP, where a setting below says "While
  running". Any other change in the YAML file is named in the log and waits for a restart. What is wrong in a changed file
  leaves the last good state of it in force, is logged, and sets the metric ` + "`bus_vm_reload_success`" + ` to 0 until it is put right.
`
