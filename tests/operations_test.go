package tests

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// runbook returns docs/operations.md by section: the text below each heading.
func runbook(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	sections := map[string]string{}
	heading := ""
	for line := range strings.Lines(string(text)) {
		if after, ok := strings.CutPrefix(line, "### "); ok {
			heading = strings.Trim(strings.TrimSpace(after), "`")
			_, twice := sections[heading]
			require.False(t, twice, "%s stands twice", heading)
		} else if strings.HasPrefix(line, "## ") {
			heading = ""
		}
		sections[heading] += line
	}
	return sections
}

// Every alert has a section that says what it means, where to look and what to
// do, and no section is about an alert that is gone.
func TestRunbookHasEveryAlert(t *testing.T) {
	var file struct {
		Groups []struct{ Rules []struct{ Alert string } }
	}
	text, err := os.ReadFile("../deploy/prometheus/alerts.yml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, &file))
	sections := runbook(t)
	alerts := map[string]bool{}
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			alerts[rule.Alert] = true
			for _, word := range []string{"**Means**", "**Look**", "**Do**"} {
				assert.Contains(t, sections[rule.Alert], word, rule.Alert)
			}
		}
	}
	require.NotEmpty(t, alerts)
	for heading := range sections {
		assert.True(t, !strings.HasPrefix(heading, "BusVM") || alerts[heading], "%s is no alert any more", heading)
	}
}

// Every error type that callers may read has a section.
func TestRunbookHasEveryErrorType(t *testing.T) {
	sections := runbook(t)
	codes := []string{"quota_exceeded"} // billing's own word of the contract
	file, err := parser.ParseFile(token.NewFileSet(), "../middleware/errors.go", nil, 0)
	require.NoError(t, err)
	ast.Inspect(file, func(n ast.Node) bool {
		if value, ok := n.(*ast.CompositeLit); ok && len(value.Elts) == 2 {
			if kind, ok := value.Type.(*ast.Ident); ok && kind.Name == "Code" {
				code, err := strconv.Unquote(value.Elts[0].(*ast.BasicLit).Value)
				require.NoError(t, err)
				codes = append(codes, code)
			}
		}
		return true
	})
	require.GreaterOrEqual(t, len(codes), 14)
	for _, code := range codes {
		assert.NotEmpty(t, sections[code], "docs/operations.md lacks a section about the error type %s", code)
	}
}

// logCalls are the methods of a logger by the place of the message among their
// arguments.
var logCalls = map[string]int{"Error": 0, "Warn": 0, "Info": 0, "ErrorContext": 1, "WarnContext": 1, "LogAttrs": 2}

// Every line that is logged as an error, or says what to do, has a section, by
// what its message begins with; and every error says what to do.
func TestRunbookHasEveryErrorLine(t *testing.T) {
	sections := runbook(t)
	found := 0
	for _, root := range []string{"../internal", "../backend", "../middleware", "../routes"} {
		files, err := filepath.Glob(root + "/*.go")
		require.NoError(t, err)
		below, err := filepath.Glob(root + "/*/*.go")
		require.NoError(t, err)
		for _, path := range slices.Concat(files, below) {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			require.NoError(t, err)
			ast.Inspect(file, func(n ast.Node) bool {
				message, words, failure := logLine(n)
				says := slices.Contains(words, "do") || slices.Contains(words, "LevelError") // attributes from elsewhere
				assert.False(t, failure && !says, "%s: %q does not say what to do", path, message)
				assert.NotContains(t, words, "error", "%s: %q names its cause otherwise than others", path, message)
				if !says {
					return true
				}
				found++
				known := slices.ContainsFunc(headings(sections), func(h string) bool { return strings.HasPrefix(message, h) })
				assert.True(t, known, "%s: docs/operations.md lacks a section about the log line %q", path, message)
				return true
			})
		}
	}
	assert.GreaterOrEqual(t, found, 16, "the search finds the lines")
}

func headings(sections map[string]string) (names []string) {
	for name := range sections {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// logLine returns the message of a call that logs, the words among what else
// is logged, and whether it is a failure.
func logLine(n ast.Node) (message string, words []string, failure bool) {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return "", nil, false
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", nil, false
	}
	at, ok := logCalls[method.Sel.Name]
	if !ok || len(call.Args) <= at {
		return "", nil, false
	}
	message, ok = text(call.Args[at])
	if !ok {
		return "", nil, false
	}
	for _, argument := range call.Args[at+1:] {
		if word, ok := text(argument); ok {
			words = append(words, word)
		}
	}
	if level, ok := call.Args[max(at-1, 0)].(*ast.SelectorExpr); ok {
		words = append(words, level.Sel.Name)
	}
	return message, words, strings.HasPrefix(method.Sel.Name, "Error")
}

// text is the value of a string literal, or of the sum of some.
func text(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		return s, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		left, ok := text(e.X)
		right, also := text(e.Y)
		return left + right, ok && also
	}
	return "", false
}

// Links within the runbook, and from the alerts into it, lead somewhere.
func TestRunbookLinksLeadSomewhere(t *testing.T) {
	markdown, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	anchors := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(markdown), -1) {
		anchors[anchor(match[1])] = true
	}
	for _, match := range regexp.MustCompile(`\]\(#([^)]*)\)`).FindAllStringSubmatch(string(markdown), -1) {
		assert.True(t, anchors[match[1]], "docs/operations.md links to #%s", match[1])
	}
	for _, match := range regexp.MustCompile(`\]\((\.\./[^)#]*)\)`).FindAllStringSubmatch(string(markdown), -1) {
		_, err := os.Stat(filepath.Join("../docs", match[1]))
		assert.NoError(t, err, match[1])
	}
	for _, file := range []string{"../deploy/prometheus/alerts.yml", "../deploy/grafana/dashboard.json"} {
		shipped, err := os.ReadFile(file)
		require.NoError(t, err)
		links := regexp.MustCompile(`operations\.md(?:#([a-z-]+))?`).FindAllStringSubmatch(string(shipped), -1)
		require.NotEmpty(t, links, file)
		for _, match := range links {
			assert.True(t, match[1] == "" || anchors[match[1]], fmt.Sprintf("%s links to #%s", file, match[1]))
		}
	}
}

// anchor is how GitHub names a heading.
func anchor(heading string) string {
	kept := regexp.MustCompile(`[^\p{L}\p{N}\- _]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(kept, " ", "-")
}
