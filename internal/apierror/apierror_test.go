package apierror

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestHTTPStatus(t *testing.T) {
	for code, want := range map[Code]int{
		InvalidAuth:         401,
		InsufficientAccess:  403,
		BadRequest:          400,
		NotFound:            404,
		MethodNotAllowed:    405,
		RequestTimeout:      408,
		RequestBodyTooLarge: 413,
		HeaderTooLarge:      431,
		TooManyRequests:     429,
		Internal:            500,
		BadGateway:          502,
		Unavailable:         503,
	} {
		assert.Equal(t, want, New(code, "x").HTTPStatus(), code)
		assert.NotEmpty(t, http.StatusText(want))
		delete(untested, code)
	}
	assert.Empty(t, untested, "a code without its row here")
	assert.Equal(t, 500, New("unheard_of", "x").HTTPStatus(), "an unknown code is a bug of ours")
	assert.Equal(t, 402, Denied("quota_exceeded", "x", nil).HTTPStatus())
	assert.Equal(t, 502, Upstream("not_found", "x", nil).HTTPStatus(), "the integration's code does not choose our status")
	assert.Equal(t, 503, UnavailableAfter(time.Second, "x", nil).HTTPStatus())
}

var untested = func() map[Code]int {
	copied := map[Code]int{}
	for code, status := range statuses {
		copied[code] = status
	}
	return copied
}()

func TestEnvelope(t *testing.T) {
	for _, c := range []struct {
		name, requestID string
		err             *Error
		want            string
	}{
		{"plain", "", New(NotFound, "Not here."), `{"error":{"type":"not_found","message":"Not here."}}`},
		{"with an id", "r-1", New(NotFound, "Not here."), `{"error":{"type":"not_found","message":"Not here.","request_id":"r-1"}}`},
		{"quoted", `"`, New("a\"b", "c\\\n\x00<&>\u2028é"), `{"error":{"type":"a\"b","message":"c\\\n\u0000<&>\u2028é","request_id":"\""}}`},
		{"invalid UTF-8", "", New("\xff", "\xc3("), `{"error":{"type":"\ufffd","message":"\ufffd("}}`},
		{"extra, sorted", "", Denied("quota_exceeded", "No.", map[string]any{
			"usage": map[string]any{"b": 2, "a": []int{1}}, "command": "bus billing setup <&>", "plan_id": nil, "action": json.RawMessage(`{ "x" : 1 }`),
		}), `{"error":{"type":"quota_exceeded","message":"No.","action":{"x":1},"command":"bus billing setup <&>","plan_id":null,"usage":{"a":[1],"b":2}}}`},
		{"extra replaces nothing", "r-1", Denied("quota_exceeded", "No.", map[string]any{"type": "x", "message": "x", "request_id": "x"}),
			`{"error":{"type":"quota_exceeded","message":"No.","request_id":"r-1"}}`},
		{"extra that cannot be encoded", "", Denied("x", "No.", map[string]any{
			"a": math.NaN(), "b": 1, "c": func() {}, "d": json.RawMessage("{"),
		}), `{"error":{"type":"x","message":"No.","b":1}}`},
		{"cause and headers stay inside", "", &Error{Code: Internal, Message: "x", Cause: errors.New("canary"), Headers: []Header{{"canary", "canary"}}, Reason: "canary"},
			`{"error":{"type":"internal_error","message":"x"}}`},
		{"empty", "", &Error{}, `{"error":{"type":"","message":""}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.err.AppendEnvelope(nil, c.requestID)
			assert.Equal(t, c.want, string(got))
			assert.True(t, json.Valid(got))
		})
	}
}

func TestRetryAfterSeconds(t *testing.T) {
	for wait, want := range map[time.Duration]string{
		-time.Second: "", 0: "", 1: "1", time.Millisecond: "1", time.Second: "1", time.Second + 1: "2",
		90 * time.Second: "90", 24 * time.Hour: "86400",
	} {
		assert.Equal(t, want, (&Error{RetryAfter: wait}).RetryAfterSeconds(), wait)
	}
}

func TestFrom(t *testing.T) {
	mine := New(NotFound, "Not here.")
	assert.Same(t, mine, From(mine))
	assert.Same(t, mine, From(fmt.Errorf("a: %w", errors.Join(errors.New("b"), mine))))

	cause := errors.New("disk")
	other := From(cause)
	assert.Equal(t, &Error{Code: Internal, Message: "The server failed to answer this request.", Cause: cause}, other)
	assert.ErrorIs(t, other, cause)
	assert.NotContains(t, string(other.AppendEnvelope(nil, "")), "disk")
}

func TestErrorText(t *testing.T) {
	assert.Equal(t, "not_found: Not here.", New(NotFound, "Not here.").Error())
	assert.Equal(t, "no_capacity: No room.: reply 7", Upstream("no_capacity", "No room.", errors.New("reply 7")).Error())
}
