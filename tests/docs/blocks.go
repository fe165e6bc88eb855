// Package docs runs the commands of the documents as they are written.
//
// Each block fenced as sh or console in README.md and docs/ has a comment in
// the line before it that says who runs it:
//
//	<!-- tested: checkout -->           in the repository, with the binary in PATH
//	<!-- tested: checkout, serving -->  the same in the background; what it prints as NAME=value is set for the blocks after it
//	<!-- tested: settings -->           as a start of the service, which says whether its settings are right, and does not serve
//	<!-- tested: machine -->            on a bare machine with the package, in one shell, block after block (tests/ship)
//	<!-- tested: machine, binary -->   the same on another one, with the binary and nginx's file instead of the package
//	<!-- tested: machine, events -->   the same on another one, with the package and an Events API behind which workers answer
//	<!-- tested: by PATH -->            by a test of its own, in PATH
//	<!-- untested: REASON -->           not run
//
// A console block holds commands after "$ ", continued after "> ", and what they
// print. There, … stands for any text of a line.
package docs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Block is one fenced block.
type Block struct {
	File     string // relative to the root of the repository
	Line     int    // of its first line
	How      string // "checkout", "by tests/stack", … ; "" when it is not run
	Commands []Command
}

// Command is one command, or a whole sh block, and what it prints. A nil Want
// is not compared.
type Command struct {
	Text string
	Want *string
}

func (b Block) String() string { return fmt.Sprintf("%s:%d", b.File, b.Line) }

// fenced is a block with the comment before it: (un)tested, who or why, the
// language, the content.
var fenced = regexp.MustCompile("(?ms)^(?:<!-- (tested|untested): ([^\n]+) -->\n)?```(sh|console)\n(.*?)^```$")

// Find reads all documents below root.
func Find(root string) (blocks []Block, err error) {
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		return nil, err
	}
	var problems []error
	for _, file := range append([]string{filepath.Join(root, "README.md")}, files...) {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		text := string(raw)
		for _, at := range fenced.FindAllStringSubmatchIndex(text, -1) {
			group := func(i int) string { return text[max(at[2*i], 0):max(at[2*i+1], 0)] }
			block := Block{strings.TrimPrefix(file, root+"/"), strings.Count(text[:at[8]], "\n") + 1, "", commands(group(3), group(4))}
			switch group(1) {
			case "":
				problems = append(problems, fmt.Errorf("%s: nothing says who tests it", block))
			case "tested":
				block.How = group(2)
			}
			blocks = append(blocks, block)
		}
	}
	return blocks, errors.Join(problems...)
}

// commands cuts a block into what is run at a time.
func commands(language, content string) (list []Command) {
	if language == "sh" {
		return []Command{{Text: strings.TrimSpace(content)}}
	}
	for line := range strings.Lines(content) {
		if text, ok := strings.CutPrefix(line, "$ "); ok {
			list = append(list, Command{strings.TrimSuffix(text, "\n"), new(string)})
			continue
		}
		if len(list) == 0 {
			continue // what an editor would call a comment
		}
		last := &list[len(list)-1]
		if text, ok := strings.CutPrefix(line, "> "); ok && *last.Want == "" {
			last.Text += "\n" + strings.TrimSuffix(text, "\n")
		} else {
			*last.Want += line
		}
	}
	return list
}

// Matches reports whether a command printed what the document shows.
func (c Command) Matches(printed string) bool {
	if c.Want == nil {
		return true
	}
	pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(*c.Want)), "…", `[^\n]*`)
	return regexp.MustCompile(`^` + pattern + `$`).MatchString(strings.TrimSpace(printed))
}
