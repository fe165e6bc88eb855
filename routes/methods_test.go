package routes_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

var paths = map[string]string{
	"/api/v1/vm/status":       "GET, HEAD",
	"/api/v1/vm/start":        "POST",
	"/api/v1/vm/stop":         "POST",
	"/api/v1/vm/operations":   "GET, HEAD",
	"/api/v1/vm/operations/x": "GET, HEAD",
	"/api/v1/vm/openapi.json": "GET, HEAD",
	"/readyz":                 "GET, HEAD",
	"/livez":                  "GET, HEAD",
}

// Every method that a path does not take is refused with the ones it does,
// with or without a token, and reaches nothing behind the routes.
func TestOtherMethods(t *testing.T) {
	w := serve(t, everything)
	methods := []string{
		"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
		"QUERY", "PROPFIND", "SEARCH", "get", "Post", "X", strings.Repeat("M", 200),
	}
	for path, allow := range paths {
		want := refused("405 Method Not Allowed", "Allow: "+allow+"\n", "method_not_allowed", "This path takes only "+allow+".")
		for _, method := range methods {
			if strings.Contains(", "+allow+",", ", "+method+",") {
				continue
			}
			expected := want
			if method == "HEAD" {
				expected = headOf(want)
			}
			assert.Equal(t, expected, w.call(t, method, path, "", ""), "%s %s", method, path)
			if method != "CONNECT" {
				assert.Equal(t, expected, w.call(t, method, path, both(), "{}"), "%s %s with a token", method, path)
			}
		}
	}
	assert.Empty(t, w.take())
}

// Every other path is a 404: nothing is forgiven, and nothing is decoded.
func TestOtherPaths(t *testing.T) {
	w := serve(t, everything)
	others := []string{"/", "//", "/*", "/api", "/api/", "/api/v1", "/api/v1/vm", "/api/v1/vm/", "/metrics", "/debug/pprof/", "/favicon.ico"}
	for path := range paths {
		if strings.HasSuffix(path, "/x") {
			continue // any text may be the id of an operation
		}
		others = append(others,
			strings.ToUpper(path),
			strings.Replace(path, "z", "Z", 1)+"Z",
			path+"/",
			"/"+path,
			strings.Replace(path, "/", "/./", 1),
			"/x/.."+path,
			path+"/../"+path[strings.LastIndexByte(path, '/')+1:],
			path+"x",
			path+"/x",
			path+"%20",
			path+"%00",
			path+";a=b",
			path+"%2f",
			path+"%3f",
			"/%"+"61pi"+path[1:],
			fmt.Sprintf("%s%%%02x", path[:len(path)-1], path[len(path)-1]),
			path[:len(path)-1],
			"/x"+path,
		)
	}
	for _, path := range others {
		if path == "/api/v1/vm/operations/x" {
			continue
		}
		for _, method := range []string{"GET", "POST", "HEAD", "DELETE", "QUERY"} {
			want := notFound
			if method == "HEAD" {
				want = headOf(notFound)
			}
			assert.Equal(t, want, w.call(t, method, path, both(), ""), "%s %s", method, path)
		}
	}
	assert.Equal(t, notFound, w.call(t, "GET", "/"+hostile.Canary, "X-"+hostile.Canary+": "+hostile.Canary+"\r\n", ""))
	assert.Empty(t, w.take())
}
