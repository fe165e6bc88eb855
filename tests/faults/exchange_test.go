package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// answer is all that came back on a connection.
type answer struct {
	status int
	header http.Header
	body   string
	after  int // bytes behind the answer: there must be none
	err    error
}

// exchange sends raw on a connection of its own and reads until its end.
func exchange(addr, raw string) answer {
	conn, err := harness.Dial(context.Background(), addr)
	if err != nil {
		return answer{err: err}
	}
	if _, err := io.WriteString(conn, raw); err != nil {
		conn.Close()
		return answer{err: err}
	}
	return receive(conn)
}

// receive reads the one answer on conn, and closes it.
func receive(conn net.Conn) answer {
	defer conn.Close()
	in := bufio.NewReader(conn)
	reply, err := http.ReadResponse(in, nil)
	if err != nil {
		return answer{err: err}
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		return answer{err: err}
	}
	// A reset here would come after the whole answer.
	rest, _ := io.ReadAll(in)
	return answer{status: reply.StatusCode, header: reply.Header, body: string(body), after: len(rest)}
}

// failure is the envelope of an answer.
type failure struct {
	Type      string          `json:"type"`
	Message   string          `json:"message"`
	RequestID string          `json:"request_id"`
	Outcome   string          `json:"outcome"`
	Usage     json.RawMessage `json:"usage"`
}

func (a answer) failure() (f failure) {
	var envelope struct {
		Error *failure `json:"error"`
	}
	if json.Unmarshal([]byte(a.body), &envelope) == nil && envelope.Error != nil {
		f = *envelope.Error
	}
	return f
}

// types are what `error.type` may say beside a status; a 502 may pass on the
// integration's own.
var types = map[int][]string{
	http.StatusBadRequest:         {"bad_request"},
	http.StatusUnauthorized:       {"invalid_auth"},
	http.StatusPaymentRequired:    {"billing_required", "quota_exceeded"},
	http.StatusForbidden:          {"insufficient_access"},
	http.StatusTooManyRequests:    {"too_many_requests"},
	http.StatusBadGateway:         nil,
	http.StatusServiceUnavailable: {"backend_unavailable"},
}

// flaw says how a is no answer of this API to a request with that id, or "".
// success is the status and the beginning of the body of one that went well.
func (a answer) flaw(requestID string, success int, begins string) string {
	switch {
	case a.err != nil:
		return "no answer: " + a.err.Error()
	case a.after > 0:
		return fmt.Sprintf("%d bytes follow the answer", a.after)
	case a.header.Get("Content-Type") != "application/json":
		return "the content type is " + a.header.Get("Content-Type")
	case a.header.Get("X-Request-Id") != requestID:
		return "the request id is " + a.header.Get("X-Request-Id")
	}
	if a.status == success {
		if !strings.HasPrefix(a.body, begins) {
			return "the body is " + a.body
		}
		return ""
	}
	allowed, known := types[a.status]
	f := a.failure()
	switch {
	case !known:
		return fmt.Sprintf("status %d", a.status)
	case f.Type == "", f.Message == "", f.RequestID != requestID:
		return "the envelope is " + a.body
	case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "":
		return "a 503 without Retry-After"
	case a.status == http.StatusUnauthorized && a.header.Get("Www-Authenticate") == "":
		return "a 401 without WWW-Authenticate"
	case allowed != nil && !slices.Contains(allowed, f.Type):
		return fmt.Sprintf("status %d with type %q", a.status, f.Type)
	}
	return ""
}
