package tests

import (
	"go/ast"
	"go/token"
	"maps"
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

// Every alert says what is wrong, where, and where to read on: a section that
// says what it means, where to look and what to do. No section is about an alert
// that is gone.
func TestRunbookHasEveryAlert(t *testing.T) {
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert       string
				Annotations struct {
					Summary, Description string
					URL                  string `yaml:"runbook_url"`
				}
			}
		}
	}
	text, err := os.ReadFile("../deploy/prometheus/alerts.yml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, &file))
	tests, err := os.ReadFile("../deploy/prometheus/alerts_test.yml")
	require.NoError(t, err)
	sections := runbook(t)
	alerts := map[string]bool{}
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			alerts[rule.Alert] = true
			assert.Regexp(t, `^BusVM[A-Z]\w+$`, rule.Alert)
			assert.Regexp(t, `^[A-Z].*\.$`, rule.Annotations.Summary, rule.Alert)
			assert.Regexp(t, `\{\{ \$labels\.instance \}\}.*\.$`, rule.Annotations.Description, rule.Alert)
			assert.Equal(t, "https://"+module+"/blob/main/docs/operations.md#"+strings.ToLower(rule.Alert), rule.Annotations.URL)
			assert.Contains(t, string(tests), "\n  - name: "+rule.Alert+"\n")
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
	source, err := os.ReadFile("../middleware/errors.go")
	require.NoError(t, err)
	codes := regexp.MustCompile(`(?m)^\s*\w+ += Code\{"(\w+)"`).FindAllStringSubmatch(string(source), -1)
	require.GreaterOrEqual(t, len(codes), 13)
	for _, code := range append(codes, []string{"", "quota_exceeded"}) { // billing's own word of the contract
		assert.NotEmpty(t, sections[code[1]], "docs/operations.md lacks a section about the error type %s", code[1])
	}
}

// logCalls are the methods of a logger by the place of the message among their
// arguments.
var logCalls = map[string]int{"Error": 0, "Warn": 0, "Info": 0, "ErrorContext": 1, "WarnContext": 1, "LogAttrs": 2}

// Every line that is logged as an error, or says what to do, has a section, by
// what its message begins with; and every error says what to do.
func TestRunbookHasEveryErrorLine(t *testing.T) {
	sections := runbook(t)
	delete(sections, "")
	headings := slices.Collect(maps.Keys(sections))
	found := 0
	eachProductFile(t, func(_, name string, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			message, words, failure := logLine(n)
			says := slices.Contains(words, "do") || slices.Contains(words, "LevelError") // attributes from elsewhere
			assert.False(t, failure && !says, "%s: %q does not say what to do", name, message)
			assert.NotContains(t, words, "error", "%s: %q names its cause otherwise than others", name, message)
			if says {
				found++
				known := slices.ContainsFunc(headings, func(h string) bool { return strings.HasPrefix(message, h) })
				assert.True(t, known, "%s: docs/operations.md lacks a section about the log line %q", name, message)
			}
			return true
		})
	})
	assert.GreaterOrEqual(t, found, 13, "the search finds the lines")
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

// Links within the runbook, and from the dashboard into it, lead somewhere.
func TestRunbookLinksLeadSomewhere(t *testing.T) {
	markdown, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	anchors := map[string]bool{"": true}
	for _, match := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(markdown), -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N}\- _]`).ReplaceAllString(strings.ToLower(match[1]), "") // as GitHub names a heading
		anchors[strings.ReplaceAll(name, " ", "-")] = true
	}
	for _, match := range regexp.MustCompile(`\]\((?:#([^)]*)|(\.\./[^)#]*))\)`).FindAllStringSubmatch(string(markdown), -1) {
		assert.True(t, anchors[match[1]], "docs/operations.md links to #%s", match[1])
		_, err := os.Stat(filepath.Join("../docs", match[2]))
		assert.NoError(t, err, match[2])
	}
	dashboard, err := os.ReadFile("../deploy/grafana/dashboard.json")
	require.NoError(t, err)
	links := regexp.MustCompile(`operations\.md(?:#([a-z-]+))?`).FindAllStringSubmatch(string(dashboard), -1)
	require.NotEmpty(t, links)
	for _, match := range links {
		assert.True(t, anchors[match[1]], "the dashboard links to #%s", match[1])
	}
}
