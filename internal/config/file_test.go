package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

func TestFileIsReadStrictly(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want []string // problems, with PATH for the file; none: accepted
	}{
		"nothing":               {"", nil},
		"comments":              {"# addr: 127.0.0.1:1\n", nil},
		"an explicit nothing":   {"---\n", nil},
		"two documents":         {"addr: 127.0.0.1:1\n---\nbackend: static\n", []string{"file PATH: want one YAML document only"}},
		"no mapping":            {"- addr\n", []string{"file PATH line 1: want settings as `key: value`"}},
		"a text":                {"hunter2", []string{"file PATH line 1: want settings as `key: value`"}},
		"a section as a text":   {"jwt: hunter2\n", []string{"jwt (file PATH line 1): want settings as `key: value`"}},
		"audiences":             {"jwt: {audiences: [a, b]}\n", nil},
		"audiences in one":      {"jwt: {audiences: 'a, b'}\n", nil},
		"no audience":           {"jwt: {audiences: []}\n", []string{"jwt.audiences (file PATH line 1): want names without spaces or commas, at least one"}},
		"an empty audience":     {"jwt:\n  audiences:\n  - a\n  - ~\n", []string{"jwt.audiences (file PATH line 3): want names without spaces or commas, at least one"}},
		"an audience of two":    {"jwt: {audiences: ['a b']}\n", []string{"jwt.audiences (file PATH line 1): want names without spaces or commas, at least one"}},
		"audiences as sections": {"jwt: {audiences: [{a: b}]}\n", []string{"jwt.audiences (file PATH line 1): want names without spaces or commas, at least one"}},
		"a key twice":           {"timeout: 1s\ntimeout: 2s\n", []string{"timeout (file PATH line 2): is twice in the file"}},
		"a section twice":       {"log: {level: info}\nlog: {format: json}\n", []string{"log (file PATH line 2): is twice in the file"}},
		"unknown below":         {"\njwt:\n  secrets: hunter2\n", []string{`file PATH line 3: unknown key "jwt.secrets"; did you mean jwt.secret?`}},
		"a dotted key":          {"jwt.leeway: 1s\n", nil},
		"a key in two forms":    {"jwt.leeway: 1s\njwt: {leeway: 2s}\n", []string{"jwt.leeway (file PATH line 2): is twice in the file"}},
		"a section by mistake":  {"logs: {level: info}\n", []string{`file PATH line 1: unknown key "logs"; did you mean log?`}},
		"an alias as a key":     {"addr: &addr 127.0.0.1:1\n*addr : x\n", []string{`file PATH line 2: unknown key "addr"; did you mean addr?`}},
		"another section":       {"max_age: 1s\n", []string{`file PATH line 1: unknown key "max_age"; did you mean status.max_age?`}},
		"dev":                   {"dev: true\n", []string{`file PATH line 1: unknown key "dev"`}},
		"config":                {"config: other\n", []string{`file PATH line 1: unknown key "config"`}},
		"a merge key":           {"<<: {addr: 127.0.0.1:1}\n", []string{`file PATH line 1: unknown key "<<"`}},
		"a key in capitals":     {"Addr: 127.0.0.1:1\n", []string{`file PATH line 1: unknown key "Addr"; did you mean addr?`}},
		"a list":                {"timeout: [1s]\n", []string{"timeout (file PATH line 1): want one value: a duration from 1ms to 24h, such as 1m30s; a bare integer is seconds"}},
		"a mapping":             {"jwt:\n  secret:\n    hunter2: 1\n", []string{"jwt.secret (file PATH line 3): want one value: raw text, or base64: and the secret in base64; below 32 bytes with a warning"}},
		"tabs":                  {"log:\n\tlevel: info\n", []string{`file PATH line 2: a tab cannot indent YAML; want spaces`}},
		"a tab in a list":       {"jwt:\n  audiences:\n  -\tx\n", []string{`file PATH line 3: a tab cannot indent YAML; want spaces`}},
		"a tab and a comment":   {"log:\n  level: info\n\t# x\n", []string{`file PATH line 3: a tab cannot indent YAML; want spaces`}},
		"a tab alone":           {"log:\n\t\n  level: info\n", []string{`file PATH line 2: a tab cannot indent YAML; want spaces`}},
		"a sign of YAML":        {"addr: @x\n", []string{"file PATH: not YAML: want quotes around a value that begins with @, ` or %"}},
		"an open list":          {"addr: [x\n", []string{`file PATH: not YAML: line 1: did not find expected ',' or ']'`}},
		"a secret as an alias":  {"jwt:\n  secret: *hunter2\n", []string{`file PATH: not YAML: unknown anchor … referenced`}},
		"an alias":              {"billing: &none {backend: none}\nusage: *none\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := harness.File(t, "config.yaml", tc.text)
			_, err := Load(Input{Environ: withSecret("BUS_VM_CONFIG=" + path)})
			got := ""
			if err != nil {
				got = strings.ReplaceAll(err.Error(), path, "PATH")
			}
			if want := strings.Join(tc.want, "\n"); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestFileValuesAreTexts(t *testing.T) {
	path := harness.File(t, "config.yaml", `
timeout: 0030            # no octal
socket: {mode: 0660}     # octal, and no 432
admin: {pprof: yes}
static:
  state: null-ish
jwt: {secret: 00012345678901234567890123456789012, audiences: [b, a]}
`)
	got := loaded(t, Input{Environ: []string{"BUS_VM_CONFIG=" + path}})
	want := loaded(t, Input{Environ: []string{
		"BUS_VM_JWT_SECRET=00012345678901234567890123456789012", "BUS_VM_TIMEOUT=30s", "BUS_VM_SOCKET_MODE=0660", "BUS_VM_ADMIN_PPROF=1",
		"BUS_VM_STATIC_STATE=null-ish", "BUS_VM_JWT_AUDIENCES=b,a",
	}})
	want.File = path
	same(t, got, want)
}

func TestFileThatCannotBeReadHidesNothingElse(t *testing.T) {
	directory := t.TempDir()
	got := problemsOf(t, Input{Flags: flagsOf("--config="+directory, "--timeout=x")})
	want := []Problem{
		{"config", "flag --config", fmt.Sprintf("%q: it is no regular file", directory)},
		{"timeout", "flag --timeout", `"x" is not accepted; want a duration from 1ms to 24h, such as 1m30s; a bare integer is seconds`},
	}
	require.Equal(t, want, got)
	got = problemsOf(t, Input{Environ: []string{"BUS_VM_CONFIG=/nonexistent"}})
	want = []Problem{{"config", "environment BUS_VM_CONFIG", `"/nonexistent": no such file or directory`}}
	require.Equal(t, want, got)
}
