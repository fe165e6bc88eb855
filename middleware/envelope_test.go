package middleware

import (
	"encoding/json"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestEnvelope(t *testing.T) {
	denied := func(reason string, extra map[string]any) *Error {
		return &Error{Code: CodePaymentRequired, Type: reason, Message: "No.", Extra: extra}
	}
	for _, c := range []struct {
		name, requestID string
		err             *Error
		want            string // without an outcome
	}{
		{"plain", "", NewError(CodeNotFound, "Not here."), `{"error":{"type":"not_found","message":"Not here."}}`},
		{"with an id", "r-1", NewError(CodeNotFound, "Not here."), `{"error":{"type":"not_found","message":"Not here.","request_id":"r-1"}}`},
		{"quoted", `"`, NewError("a\"b", "c\\\n\x00<&>\u2028é"), `{"error":{"type":"a\"b","message":"c\\\n\u0000<&>\u2028é","request_id":"\""}}`},
		{"invalid UTF-8", "", NewError("\xff", "\xc3("), `{"error":{"type":"\ufffd","message":"\ufffd("}}`},
		{"extra, sorted", "", denied("quota_exceeded", map[string]any{
			"usage": map[string]any{"b": 2, "a": []int{1}}, "command": "bus billing setup <&>", "plan_id": nil, "action": json.RawMessage(`{ "x" : 1 }`),
		}), `{"error":{"type":"quota_exceeded","message":"No.","action":{"x":1},"command":"bus billing setup <&>","plan_id":null,"usage":{"a":[1],"b":2}}}`},
		{"extra replaces nothing", "r-1", denied("quota_exceeded", map[string]any{"type": "x", "message": "x", "outcome": "x", "request_id": "x"}),
			`{"error":{"type":"quota_exceeded","message":"No.","request_id":"r-1"}}`},
		{"extra that cannot be encoded", "", denied("x", map[string]any{
			"a": math.NaN(), "b": 1, "c": func() {}, "d": json.RawMessage("{"),
		}), `{"error":{"type":"x","message":"No.","b":1}}`},
		{"cause and headers stay inside", "", &Error{Code: CodeInternal, Message: "x", Cause: errors.New("canary"), Headers: []Header{{"canary", "canary"}}, Reason: "canary"},
			`{"error":{"type":"internal_error","message":"x"}}`},
		{"empty", "", &Error{}, `{"error":{"type":"","message":""}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.err.appendEnvelope(nil, "", c.requestID)
			assert.Equal(t, c.want, string(got))
			assert.True(t, json.Valid(got))
		})
	}
}
