package tests

import (
	"go/ast"
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

// section is a part of docs/operations.md: the text below a heading of the third
// level, and the heading of the second level above that.
type section struct{ chapter, text string }

// runbook returns the sections of docs/operations.md by their headings.
func runbook(t *testing.T) map[string]section {
	t.Helper()
	text, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	sections := map[string]section{}
	heading, chapter := "", ""
	for line := range strings.Lines(string(text)) {
		if after, ok := strings.CutPrefix(line, "### "); ok {
			heading = strings.Trim(strings.TrimSpace(after), "`")
			require.NotContains(t, sections, heading, "it is there twice")
		} else if after, ok := strings.CutPrefix(line, "## "); ok {
			heading, chapter = "", strings.TrimSpace(after)
		}
		sections[heading] = section{chapter, sections[heading].text + line}
	}
	delete(sections, "")
	return sections
}

var (
	command = regexp.MustCompile("(?m)(^|`)(bus-api-provider-vm|curl|date|df|dmesg|grep|journalctl|kill|ls|metrics|nginx|openssl|psql|ss|systemctl|timedatectl) [^`\\n]")
	within  = regexp.MustCompile(`\]\(#([^)]+)\)`)
)

// Every section has a command that shows or mends what it is about, or leads to
// one that has.
func TestRunbookHasCommands(t *testing.T) {
	sections := runbook(t)
	has := map[string]bool{}
	for heading, s := range sections {
		has[anchor(heading)] = command.MatchString(s.text)
	}
	for heading, s := range sections {
		leads := slices.ContainsFunc(within.FindAllStringSubmatch(s.text, -1), func(link []string) bool { return has[link[1]] })
		assert.True(t, has[anchor(heading)] || leads, "%s has no command", heading)
	}
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
				assert.Contains(t, sections[rule.Alert].text, word, rule.Alert)
			}
		}
	}
	require.NotEmpty(t, alerts)
	holds(t, sections, "Alerts", alerts)
}

// holds fails for sections of a chapter that are about nothing that is known, and
// for known things without one.
func holds(t *testing.T, sections map[string]section, chapter string, known map[string]bool) {
	t.Helper()
	for name := range known {
		assert.Equal(t, chapter, sections[name].chapter, "docs/operations.md lacks a section about %s", name)
	}
	for heading, s := range sections {
		assert.True(t, s.chapter != chapter || known[heading], "docs/operations.md has a section about %s, which is gone", heading)
	}
}

// Every error type and outcome that callers may read has a section.
func TestRunbookHasEveryErrorTypeAndOutcome(t *testing.T) {
	types, outcomes := map[string]bool{}, map[string]bool{}
	eachProductFile(t, func(pkg, _ string, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit:
				if name, ok := n.Type.(*ast.Ident); ok && pkg == "middleware" && name.Name == "Code" && len(n.Elts) > 0 {
					word, _ := text(n.Elts[0])
					types[word] = true
				}
			case *ast.ValueSpec:
				if len(n.Values) != 1 || pkg != "backend/lifecycle" {
					break
				}
				word, _ := text(n.Values[0])
				if kind, ok := n.Type.(*ast.Ident); ok && kind.Name == "Outcome" {
					outcomes[word] = true
				} else if n.Names[0].Name == "BillingRequired" || n.Names[0].Name == "QuotaExceeded" {
					types[word] = true
				}
			}
			return true
		})
	})
	require.GreaterOrEqual(t, len(types), 19)
	require.Len(t, outcomes, 4)
	sections := runbook(t)
	holds(t, sections, "Error types", types)
	holds(t, sections, "Outcomes", outcomes)
}

// logCalls are the functions that log, or pass a message on to one that does, by
// the place of the message among their arguments.
var logCalls = map[string]int{"Error": 0, "Warn": 0, "ErrorContext": 1, "WarnContext": 1, "Log": 2, "LogAttrs": 2, "backOff": 3}

// aboutSettings is the section about all that is unwise in settings.
const aboutSettings = "warnings about settings"

// Every line that is logged as a warning or an error has a section, by what its
// message begins with, and no section is about a line that is gone. Every error
// says what to do.
func TestRunbookHasEveryLogLine(t *testing.T) {
	sections := runbook(t)
	used := map[string]bool{aboutSettings: true}
	found := 0
	eachProductFile(t, func(pkg, name string, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if pkg == "internal/config" {
				for _, warning := range settingsWarning(call) {
					assert.Contains(t, sections[aboutSettings].text, warning)
				}
			}
			message, words, ok := logLine(call)
			if !ok || passedOn[message] {
				return true
			}
			found++
			says := slices.Contains(words, "do") || slices.Contains(words, "LevelError") // attributes from elsewhere
			assert.True(t, says || !strings.HasPrefix(words[0], "Error"), "%s: %q does not say what to do", name, message)
			assert.NotContains(t, words, "error", "%s: %q names its cause otherwise than others", name, message)
			known := false
			for heading, s := range sections {
				if s.chapter == "Log lines" && strings.HasPrefix(message, heading) {
					known, used[heading] = true, true
				}
			}
			assert.True(t, known, "%s: docs/operations.md lacks a section about the log line %q", name, message)
			return true
		})
	})
	assert.GreaterOrEqual(t, found, 22, "the search finds the lines")
	for heading, s := range sections {
		assert.True(t, s.chapter != "Log lines" || used[heading], "docs/operations.md has a section about the log line %q, which is gone", heading)
	}
}

// passedOn are the variables that hold messages which are literals elsewhere: in
// calls of backOff, and of what settingsWarning knows.
var passedOn = map[string]bool{"message": true, "warning": true}

// logLine returns the message of a call that logs a warning or an error, or the
// name of the variable that holds it, and the words of the call: the name of
// the function, the level and the names of what else is logged.
func logLine(call *ast.CallExpr) (message string, words []string, ok bool) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", nil, false
	}
	words = []string{method.Sel.Name}
	for _, argument := range call.Args {
		if level, ok := argument.(*ast.SelectorExpr); ok {
			words = append(words, level.Sel.Name)
		} else if word, ok := text(argument); ok {
			words = append(words, word)
		}
	}
	if method.Sel.Name == "NewLogLogger" {
		return "http: ", words, true // as net/http begins its lines
	}
	at, ok := logCalls[method.Sel.Name]
	if !ok || len(call.Args) <= at || slices.Contains(words, "LevelInfo") || slices.Contains(words, "LevelDebug") {
		return "", nil, false
	}
	if variable, ok := call.Args[at].(*ast.Ident); ok {
		return variable.Name, words, true
	}
	message, _ = text(call.Args[at])
	return message, words, true
}

// settingsWarning returns the literals of a call that adds to what is unwise in
// settings.
func settingsWarning(call *ast.CallExpr) (words []string) {
	adds, ok := call.Fun.(*ast.Ident)
	if !ok || adds.Name != "warn" && adds.Name != "append" {
		return nil
	}
	if to, ok := call.Args[0].(*ast.Ident); adds.Name == "append" && (!ok || to.Name != "warnings") {
		return nil
	}
	for _, argument := range call.Args {
		ast.Inspect(argument, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok {
				if word, ok := text(e); ok && len(word) > 20 {
					word, _, _ = strings.Cut(word, ";")
					words = append(words, strings.Trim(word, " ,"))
				}
			}
			return true
		})
	}
	return words
}

// text is the value of a string literal, of the sum of some, or what a format
// begins with.
func text(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		return s, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		left, ok := text(e.X)
		right, also := text(e.Y)
		return left + right, ok && also
	case *ast.CallExpr:
		if f, ok := e.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Sprintf" {
			s, ok := text(e.Args[0])
			s, _, _ = strings.Cut(s, "%")
			return s, ok
		}
	}
	return "", false
}

// anchor is the name that GitHub gives to a heading.
func anchor(heading string) string {
	name := regexp.MustCompile(`[^\p{L}\p{N}\- _]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(name, " ", "-")
}

// Links from one document into another, or within it, lead somewhere, and so do
// those from the dashboard into the runbook.
func TestLinksLeadSomewhere(t *testing.T) {
	anchors := map[string]map[string]bool{} // by document
	of := func(path string) map[string]bool {
		if anchors[path] == nil {
			markdown, err := os.ReadFile(path)
			require.NoError(t, err)
			anchors[path] = map[string]bool{"": true}
			for _, match := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(markdown), -1) {
				anchors[path][anchor(match[1])] = true
			}
		}
		return anchors[path]
	}
	documents, err := filepath.Glob("../docs/*.md")
	require.NoError(t, err)
	decisions, err := filepath.Glob("../docs/adr/*.md")
	require.NoError(t, err)
	for _, path := range slices.Concat([]string{"../README.md"}, documents, decisions) {
		markdown, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, match := range regexp.MustCompile(`\]\(([^)#:]*)(?:#([^)]*))?\)`).FindAllStringSubmatch(string(markdown), -1) {
			to := path
			if match[1] != "" {
				to = filepath.Join(filepath.Dir(path), match[1])
			}
			_, err := os.Stat(to)
			assert.NoError(t, err, "%s links to %s", path, match[1])
			assert.True(t, match[2] == "" || of(to)[match[2]], "%s links to %s#%s", path, match[1], match[2])
		}
	}
	dashboard, err := os.ReadFile("../deploy/grafana/dashboard.json")
	require.NoError(t, err)
	links := regexp.MustCompile(`operations\.md(?:#([a-z-]+))?`).FindAllStringSubmatch(string(dashboard), -1)
	require.NotEmpty(t, links)
	for _, match := range links {
		assert.True(t, of("../docs/operations.md")[match[1]], "the dashboard links to #%s", match[1])
	}
}
