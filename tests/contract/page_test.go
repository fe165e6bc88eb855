package contract

import (
	_ "embed"
	"encoding/json"
	"flag"
	"html/template"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/api.html")

const pagePath = "../../docs/api.html"

//go:embed page.tmpl
var pageTemplate string

var backquoted = regexp.MustCompile("`([^`]+)`")

// code shows what stands in backquotes as code.
func code(text string) template.HTML {
	return template.HTML(backquoted.ReplaceAllString(template.HTMLEscapeString(text), "<code>$1</code>"))
}

func indented(value any) (string, error) {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // the template does
	encoder.SetIndent("", "  ")
	err := encoder.Encode(value)
	return strings.TrimSpace(text.String()), err
}

// The page in docs shows the document, every reply of it, and needs nothing
// from elsewhere.
func TestPageIsFresh(t *testing.T) {
	document, err := Document()
	require.NoError(t, err)
	page, err := template.New("page").Funcs(template.FuncMap{"code": code, "json": indented}).Parse(pageTemplate)
	require.NoError(t, err)
	var text strings.Builder
	require.NoError(t, page.Execute(&text, document))
	if *update {
		require.NoError(t, os.WriteFile(pagePath, []byte(text.String()), 0o644))
	}
	onDisk, err := os.ReadFile(pagePath)
	require.NoError(t, err)
	require.True(t, string(onDisk) == text.String(), "docs/api.html is not that of routes/openapi.json: go test ./tests/contract -update")
	require.NotRegexp(t, `(?i)(src|href)="?(https?:)?//|@import|url\(`, text.String())

	cases, err := Cases()
	require.NoError(t, err)
	require.Len(t, regexp.MustCompile(`\n<tr><td>\d+</td>`).FindAllString(text.String(), -1), len(cases))
}
