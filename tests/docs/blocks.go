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
	"slices"
	"strings"
)

// Block is one fenced block.
type Block struct {
	File     string // relative to the root of the repository
	Line     int    // of its first line
	How      string // "checkout", "by tests/stack", … ; "" when it is not run
	Reason   string // why it is not run
	Commands []Command
}

// Command is one command, or a whole sh block, and what it prints. A nil Want
// is not compared.
type Command struct {
	Text string
	Want *string
}

func (b Block) String() string { return fmt.Sprintf("%s:%d", b.File, b.Line) }

var (
	fence  = regexp.MustCompile("^```(\\w*)$")
	marker = regexp.MustCompile(`^<!-- (tested|untested): (.+) -->$`)
	shells = []string{"sh", "console"}
)

// Find reads all documents below root.
func Find(root string) (blocks []Block, err error) {
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		return nil, err
	}
	for _, file := range append([]string{filepath.Join(root, "README.md")}, files...) {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return nil, err
		}
		found, err := parse(name, string(text))
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, found...)
	}
	return blocks, nil
}

// parse returns the blocks of one document, or what is wrong with it.
func parse(file, text string) (blocks []Block, err error) {
	lines := strings.Split(text, "\n")
	var problems []error
	for i := 0; i < len(lines); i++ {
		match := fence.FindStringSubmatch(lines[i])
		if match == nil {
			continue
		}
		length := slices.Index(lines[i+1:], "```")
		if length < 0 {
			return nil, fmt.Errorf("%s:%d: a block without an end", file, i+1)
		}
		content := lines[i+1 : i+1+length]
		block := Block{File: file, Line: i + 2}
		if slices.Contains(shells, match[1]) {
			mark := marker.FindStringSubmatch(lines[max(i-1, 0)])
			switch {
			case mark == nil:
				problems = append(problems, fmt.Errorf("%s: nothing says who tests it", block))
			case mark[1] == "untested":
				block.Reason = mark[2]
			default:
				block.How = mark[2]
			}
			block.Commands = commands(match[1], content)
			blocks = append(blocks, block)
		}
		i += length + 1
	}
	return blocks, errors.Join(problems...)
}

// commands cuts a block into what is run at a time.
func commands(language string, lines []string) (list []Command) {
	if language == "sh" {
		return []Command{{Text: strings.Join(lines, "\n")}}
	}
	for _, line := range lines {
		if text, ok := strings.CutPrefix(line, "$ "); ok {
			list = append(list, Command{text, new(string)})
			continue
		}
		if len(list) == 0 {
			continue // what an editor would call a comment
		}
		last := &list[len(list)-1]
		if text, ok := strings.CutPrefix(line, "> "); ok && *last.Want == "" {
			last.Text += "\n" + text
		} else {
			*last.Want += line + "\n"
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
