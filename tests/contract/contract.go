// Package contract checks replies against the OpenAPI document that the API
// serves.
package contract

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/busdk/bus-api-provider-vm/routes"
)

// Document is the parsed description. It is read once, and safe for concurrent
// use.
var Document = sync.OnceValues(func() (*openapi3.T, error) {
	document, err := openapi3.NewLoader().LoadFromData(routes.OpenAPI)
	if err != nil {
		return nil, err
	}
	return document, document.Validate(context.Background())
})

func init() { openapi3filter.RegisterBodyDecoder("text/event-stream", openapi3filter.PlainBodyDecoder) }

// Reply is what a request was answered with. The body of a reply to HEAD is
// empty.
type Reply struct {
	Method, Path string // of the request; both empty when it was not readable
	Status       int
	Header       http.Header
	Body         []byte
}

// Check returns what of a reply the document does not allow. A reply to
// HEAD is one to GET without a body. Where the document has no such method, one
// of the path's operations must allow it, and where it has no such path, or the
// request was not readable, any operation.
func Check(reply Reply) error {
	document, err := Document()
	if err != nil {
		return err
	}
	for _, route := range candidates(document, reply.Method, reply.Path) {
		if err = allows(route, reply); err == nil {
			return nil
		}
	}
	return fmt.Errorf("the document does not allow this reply to %q %q: %d %s: %w", reply.Method, reply.Path, reply.Status, reply.Body, err)
}

func candidates(document *openapi3.T, method, path string) (found []*routers.Route) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	known, exact := document.Paths.Value(path), false
	if known != nil {
		_, exact = known.Operations()[method]
	}
	for p, item := range document.Paths.Map() {
		for m, operation := range item.Operations() {
			if (known == nil || p == path) && (!exact || m == method) {
				found = append(found, &routers.Route{Spec: document, Path: p, PathItem: item, Method: m, Operation: operation})
			}
		}
	}
	return found
}

func allows(route *routers.Route, reply Reply) error {
	request, err := http.NewRequest(route.Method, "http://host"+route.Path, nil)
	if err != nil {
		return err
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: request, Route: route},
		Status:                 reply.Status,
		Header:                 reply.Header,
		Body:                   io.NopCloser(bytes.NewReader(reply.Body)),
		Options:                &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: reply.Method == http.MethodHead},
	})
}

// Case is a reply that the document describes.
type Case struct {
	Method, Path string
	Status       int
}

func (c Case) String() string { return fmt.Sprintf("%s %s %d", c.Method, c.Path, c.Status) }

// Cases are all of them, in order.
func Cases() (cases []Case, err error) {
	document, err := Document()
	if err != nil {
		return nil, err
	}
	for path, item := range document.Paths.Map() {
		for method, one := range item.Operations() {
			for status := range one.Responses.Map() {
				number, err := strconv.Atoi(status)
				if err != nil {
					return nil, fmt.Errorf("%s %s: status %q", method, path, status)
				}
				cases = append(cases, Case{method, path, number})
			}
		}
	}
	slices.SortFunc(cases, func(a, b Case) int { return strings.Compare(a.String(), b.String()) })
	return cases, nil
}
