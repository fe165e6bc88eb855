package contract

import (
	_ "embed"
	"encoding/json"
	"flag"
	"html/template"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/api.html")

const pagePath = "../../docs/api.html"

//go:embed page.tmpl
var pageTemplate string

// The page in docs is the document, and needs nothing from elsewhere.
func TestPageIsFresh(t *testing.T) {
	document, err := Document()
	require.NoError(t, err)
	page, err := template.New("page").Funcs(template.FuncMap{
		"operations": operations, "scopes": scopes, "replies": replies, "schemas": schemas, "code": code,
	}).Parse(pageTemplate)
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
	require.Equal(t, len(cases), strings.Count(text.String(), "\n<tr><td>")-parameterRows(text.String()))
}

var parameterRow = regexp.MustCompile(`\n<tr><td><code>`)

func parameterRows(page string) int { return len(parameterRow.FindAllString(page, -1)) }

// operations are all, in the order in which one meets them.
func operations(document *openapi3.T) (list []pageOperation) {
	for _, path := range document.Paths.InMatchingOrder() {
		for method, one := range document.Paths.Value(path).Operations() {
			list = append(list, pageOperation{one, method, path})
		}
	}
	order := map[string]int{"runtime": 0, "health": 1}
	slices.SortFunc(list, func(a, b pageOperation) int {
		if byTag := order[a.Tags[0]] - order[b.Tags[0]]; byTag != 0 {
			return byTag
		}
		return strings.Compare(a.Method+a.Path, b.Method+b.Path)
	})
	return list
}

type pageOperation struct {
	*openapi3.Operation
	Method, Path string
}

// scopes are what a token needs for an operation, "" where it takes none.
func scopes(o *openapi3.Operation) string {
	if o.Security == nil || len(*o.Security) == 0 {
		return ""
	}
	return strings.Join((*o.Security)[0]["bearer"], " ")
}

type pageReply struct {
	Status, Description string
	Headers, Examples   []string
}

func replies(o *openapi3.Operation) (list []pageReply, err error) {
	for _, status := range slices.Sorted(maps.Keys(o.Responses.Map())) {
		response := o.Responses.Value(status).Value
		one := pageReply{Status: status, Description: *response.Description, Headers: slices.Sorted(maps.Keys(response.Headers))}
		for _, content := range response.Content {
			if content.Example != nil {
				text, err := spell(content.Example)
				if err != nil {
					return nil, err
				}
				one.Examples = append(one.Examples, text)
			}
			for _, name := range slices.Sorted(maps.Keys(content.Examples)) {
				text, err := spell(content.Examples[name].Value.Value)
				if err != nil {
					return nil, err
				}
				one.Examples = append(one.Examples, text)
			}
		}
		list = append(list, one)
	}
	return list, nil
}

func schemas(document *openapi3.T) (list []struct{ Name, Text string }, err error) {
	for _, name := range slices.Sorted(maps.Keys(document.Components.Schemas)) {
		text, err := spell(document.Components.Schemas[name].Value)
		if err != nil {
			return nil, err
		}
		list = append(list, struct{ Name, Text string }{name, text})
	}
	return list, nil
}

func spell(value any) (string, error) {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // the template does
	encoder.SetIndent("", "  ")
	err := encoder.Encode(value)
	return strings.TrimSpace(text.String()), err
}

var backquoted = regexp.MustCompile("`([^`]+)`")

// code shows what stands in backquotes as code.
func code(text string) template.HTML {
	return template.HTML(backquoted.ReplaceAllString(template.HTMLEscapeString(text), "<code>$1</code>"))
}
