package e2e

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/contract"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// connection is a raw connection to a gateway or to nginx.
type connection struct {
	net.Conn
	reader *bufio.Reader
	asked  asked
}

// dial connects to host:port, or to the path of a unix socket.
func dial(t testing.TB, addr string) *connection {
	t.Helper()
	c, err := dialTo(addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func dialTo(addr string) (*connection, error) {
	c, err := harness.Dial(context.Background(), addr)
	if err != nil {
		return nil, err
	}
	return &connection{Conn: c, reader: bufio.NewReader(c)}, nil
}

// send writes raw bytes. A peer that has already refused may close while they
// are on their way, so the error is the reader's to find.
func (c *connection) send(raw string) *connection {
	c.asked.add(raw)
	_, _ = io.WriteString(c, raw)
	return c
}

// reply reads one whole reply to a request with method. One that the OpenAPI
// document does not allow is returned with an error.
func (c *connection) reply(method string) (string, error) {
	response, err := http.ReadResponse(c.reader, &http.Request{Method: method})
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	text := render(response, string(body))
	return text, c.asked.described(response, body, text)
}

// expect reads one reply and compares it whole.
func (c *connection) expect(t testing.TB, method, want string, about ...any) {
	t.Helper()
	got, err := c.reply(method)
	require.NoError(t, err, about...)
	require.Equal(t, want, got, about...)
}

// closes expects that the peer ends the connection in order and in time.
func (c *connection) closes(t testing.TB, about ...any) {
	t.Helper()
	rest, err := io.ReadAll(c.reader)
	require.NoError(t, err, about...)
	require.Empty(t, string(rest), about...)
}

// render spells a reply as text: status, headers in order of their names
// without what differs each time, body. Content-Length is left out where the
// body shows it, and kept in a reply to HEAD.
func render(response *http.Response, body string) string {
	var lines []string
	for name, values := range response.Header {
		if name == "Date" || name == "Content-Length" && body != "" {
			continue
		}
		for _, value := range values {
			lines = append(lines, name+": "+value)
		}
	}
	if response.Close {
		lines = append(lines, "Connection: close")
	}
	slices.Sort(lines)
	text := response.Status + "\n" + strings.Join(lines, "\n") + "\n\n" + body
	if response.StatusCode == http.StatusAccepted { // 5, or what is left by the starts before
		text = retryAfter.ReplaceAllString(text, "$1<seconds>")
	}
	return madeID.ReplaceAllString(text, "<id>")
}

var retryAfter = regexp.MustCompile(`(?m)^(Retry-After: )[1-9]\d*$`)

// madeID is the id of a request, or of an operation, that the gateway made.
var madeID = regexp.MustCompile(`\b[0-9a-f]{32}\b|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`)

// request spells an HTTP/1.1 request with a token, unless it is empty, and
// further header lines.
func request(line, token string, headers ...string) string {
	lines := append([]string{line + " HTTP/1.1", "Host: vm.test"}, headers...)
	if token != "" {
		lines = append(lines, "Authorization: Bearer "+token)
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// withBody is request with a body and its length.
func withBody(line, token, body string) string {
	return request(line, token, contentLength(body)) + body
}

// ask sends one raw request on a connection of its own and returns the reply.
func ask(t testing.TB, addr, raw string) string {
	t.Helper()
	c := dial(t, addr)
	defer c.Close()
	method, _, _ := strings.Cut(raw, " ")
	got, err := c.send(raw).reply(method)
	require.NoError(t, err)
	return got
}

// The replies of contract §2, as render spells them.

func jsonReply(status, headers, body string) string {
	lines := append(strings.FieldsFunc(headers, func(r rune) bool { return r == '\n' }),
		"Cache-Control: no-store", "Content-Type: application/json", "X-Request-Id: <id>")
	slices.Sort(lines)
	return status + "\n" + strings.Join(lines, "\n") + "\n\n" + body
}

// refusal is an error in its envelope; headers are further lines.
func refusal(status, kind, message, headers string) string {
	return jsonReply(status, headers, `{"error":{"type":"`+kind+`","message":"`+message+`","request_id":"<id>"}}`)
}

// notSent is a refused write that says that nothing was done.
func notSent(status, kind, message, headers string) string {
	return strings.Replace(refusal(status, kind, message, headers), `","request_id"`, `","outcome":"not_sent","request_id"`, 1)
}

func contentLength(body string) string {
	return "Content-Length: " + strconv.Itoa(len(strings.ReplaceAll(body, "<id>", strings.Repeat("0", 32))))
}

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
	if method == "" {
		method = response.Request.Method
	}
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
