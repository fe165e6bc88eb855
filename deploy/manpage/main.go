// Command manpage turns the OpenCLI document of the binary, on stdin, into its
// man page (man(7)), on stdout. Its argument is the date of the page.
package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/template"
)

//go:embed page.tmpl
var page string

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: bus-api-provider-vm help --format opencli | manpage DATE")
		os.Exit(2)
	}
	if err := render(os.Stdin, os.Stdout, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "manpage:", err)
		os.Exit(1)
	}
}

func render(in io.Reader, out io.Writer, date string) error {
	document := map[string]any{}
	if err := json.NewDecoder(in).Decode(&document); err != nil {
		return fmt.Errorf("read the OpenCLI document: %w", err)
	}
	document["date"] = date
	return template.Must(template.New("page").Funcs(template.FuncMap{"roff": roff}).Parse(page)).Execute(out, document)
}

// roff spells text so that it is shown as it is: a hyphen stays one that can be
// copied, and no line is taken for a request.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, `"`, `\(dq`, "…", "...").Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
