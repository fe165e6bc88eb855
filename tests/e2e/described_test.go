package e2e

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"sync"

	"github.com/busdk/bus-api-provider-vm/tests/contract"
)

// asked is what was sent on a connection and is not answered yet. It is there to
// tell which reply belongs to which request, and so what the OpenAPI document
// allows.
type asked struct {
	mu  sync.Mutex
	raw bytes.Buffer
}

func (a *asked) add(raw string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.raw.WriteString(raw)
}

// next takes the first request out; both are empty when it is not readable.
func (a *asked) next() (method, path string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	rest := bytes.NewReader(a.raw.Bytes())
	reader := bufio.NewReader(rest)
	request, err := http.ReadRequest(reader)
	if err != nil {
		return "", ""
	}
	var body bytes.Buffer
	if _, err := body.ReadFrom(request.Body); err != nil {
		return request.Method, request.URL.Path // a reply may come before the whole of it
	}
	a.raw.Next(a.raw.Len() - rest.Len() - reader.Buffered())
	return request.Method, request.URL.Path
}

// described returns what the document has against a reply, and remembers it: a
// load repeats itself. What nginx says by itself is nginx's.
func (a *asked) described(response *http.Response, body []byte, rendered string) error {
	if response.StatusCode < http.StatusOK {
		return nil
	}
	method, path := a.next()
	if strings.HasPrefix(response.Header.Get("Server"), "nginx") && response.Header.Get("X-Request-Id") == "" {
		return nil
	}
	key := [3]string{method, path, rendered}
	if known, ok := descriptions.Load(key); ok {
		err, _ := known.(error)
		return err
	}
	err := contract.Check(contract.Reply{Method: method, Path: path, Status: response.StatusCode, Header: response.Header, Body: body})
	descriptions.Store(key, err)
	return err
}

// descriptions holds an error, or nil, for each reply that was seen.
var descriptions sync.Map
