package contract

import (
	_ "embed"
	"encoding/json"
	"flag"
	"html/template"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

const failure = `{"error":{"type":"not_found","message":"There is nothing at this path.","request_id":"x"}}`

// headers are those of every reply, with changes.
func headers(changes map[string]string) http.Header {
	h := http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}, "X-Request-Id": {"x"}}
	for name, value := range changes {
		if h.Set(name, value); value == "" {
			h.Del(name)
		}
	}
	return h
}

// A wrong reply is found, whatever is wrong with it.
func TestCheck(t *testing.T) {
	const status, start = "/api/v1/vm/status", "/api/v1/vm/start"
	for _, c := range []struct {
		name         string
		method, path string
		status       int
		changes      map[string]string
		body         string
		allowed      bool
	}{
		{"status", "GET", status, 200, nil, `{"status":{"state":"ready","provider":"static","details":{}}}`, true},
		{"to HEAD", "HEAD", status, 200, nil, "", true},
		{"start", "POST", start, 202, nil, `{"accepted":true,"action":"start"}`, true},
		{"refused", "POST", start, 401, map[string]string{"WWW-Authenticate": "Bearer"}, failure, true},
		{"another method", "DELETE", start, 405, map[string]string{"Allow": "POST"}, failure, true},
		{"an unreadable request", "", "", 400, nil, failure, true},

		{"no provider", "GET", status, 200, nil, `{"status":{"state":"ready"}}`, false},
		{"empty state", "GET", status, 200, nil, `{"status":{"state":"","provider":"static"}}`, false},
		{"a further member", "GET", status, 200, nil, `{"status":{"state":"ready","provider":"static"},"more":1}`, false},
		{"not accepted", "POST", start, 202, nil, `{"accepted":false,"action":"start"}`, false},
		{"no such status", "GET", status, 402, nil, failure, false},
		{"no such status to HEAD", "HEAD", status, 402, nil, "", false},
		{"storable", "GET", status, 200, map[string]string{"Cache-Control": "private"}, `{"status":{"state":"ready","provider":"static"}}`, false},
		{"no request id", "GET", status, 200, map[string]string{"X-Request-Id": ""}, `{"status":{"state":"ready","provider":"static"}}`, false},
		{"no request id to HEAD", "HEAD", status, 200, map[string]string{"X-Request-Id": ""}, "", false},
		{"no Retry-After", "GET", status, 503, nil, failure, false},
		{"Retry-After is a date", "GET", status, 503, map[string]string{"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, failure, false},
		{"no Allow", "DELETE", start, 405, nil, failure, false},
		{"no request id in the error", "GET", status, 400, nil, `{"error":{"type":"bad_request","message":"x"}}`, false},
		{"success of an unknown path", "GET", "/api/v1/vm/other", 204, nil, "", false},
	} {
		err := Check(Reply{c.method, c.path, c.status, headers(c.changes), []byte(c.body)})
		require.Equal(t, c.allowed, err == nil, "%s: %v", c.name, err)
	}
}

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
	harness.Golden(t, pagePath, text.String(), *update, "./tests/contract")
	require.NotRegexp(t, `(?i)(src|href)="?(https?:)?//|@import|url\(`, text.String())

	cases, err := Cases()
	require.NoError(t, err)
	require.Len(t, regexp.MustCompile(`\n<tr><td>\d+</td>`).FindAllString(text.String(), -1), len(cases))
}
