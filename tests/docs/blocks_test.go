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
