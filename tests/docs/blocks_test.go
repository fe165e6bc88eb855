package docs

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const page = `# Page

<!-- tested: checkout -->
~~~sh
one
two \
  three
~~~

<!-- tested: machine -->
~~~console
$ echo hello
hello
$ printf '%s\n' \
> a b
a
b…

$ true
~~~

~~~yaml
a: b
~~~

<!-- untested: needs the moon -->
~~~sh
land
~~~
`

func wanted(text string) *string { return &text }

func TestParse(t *testing.T) {
	blocks, err := parse("p.md", strings.ReplaceAll(page, "~~~", "```"))
	require.NoError(t, err)
	require.Equal(t, []Block{
		{File: "p.md", Line: 5, How: "checkout", Commands: []Command{{"one\ntwo \\\n  three", nil}}},
		{File: "p.md", Line: 12, How: "machine", Commands: []Command{
			{"echo hello", wanted("hello\n")},
			{"printf '%s\\n' \\\na b", wanted("a\nb…\n\n")},
			{"true", wanted("")},
		}},
		{File: "p.md", Line: 28, Reason: "needs the moon", Commands: []Command{{"land", nil}}},
	}, blocks)
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"```sh\nx\n```\n": "p.md:2: nothing says who tests it",
		"<!-- tested: a -->\n\n```console\n$ x\n```": "p.md:4: nothing says who tests it",
		"```sh\nx\n": "p.md:1: a block without an end",
	} {
		_, err := parse("p.md", text)
		require.ErrorContains(t, err, want)
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		want, printed string
		matches       bool
	}{
		{"a\nb\n", "a\nb", true},
		{"", "", true},
		{"", "a", false},
		{"a", "a\nb", false},
		{"a…c\n", "a b c\n", true},
		{"a…c\n", "a\nc\n", false},
		{"(a)…", "(a)", true},
		{"…", "x", true},
	} {
		require.Equal(t, c.matches, Command{"", &c.want}.Matches(c.printed), c.want)
	}
	require.True(t, Command{}.Matches("anything"))
}
