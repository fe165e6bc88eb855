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

// document is the part of OpenCLI 0.1 that the page shows.
type document struct {
	Info     struct{ Title, Version, Summary, Description string }
	Commands []struct {
		Name, Summary, Usage string
		Options              []struct {
			Name, Description, ValueName, Default, Group string
			Aliases                                      []string
		}
		Examples  []struct{ Summary, Command string }
		ExitCodes []struct {
			Code        int
			Description string
		}
	}
	Metadata struct {
		Environment struct {
			Variables []struct{ Name, Description, Default string }
		} `json:"io.busdk.environment"`
	}
}

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
	var d struct {
		document
		Date string
	}
	if err := json.NewDecoder(in).Decode(&d.document); err != nil {
		return fmt.Errorf("read the OpenCLI document: %w", err)
	}
	d.Date = date
	t, err := template.New("page").Funcs(template.FuncMap{"roff": roff}).Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(out, d)
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
