package events

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDecode(t *testing.T) {
	f := func(line string, want Envelope) {
		t.Helper()
		got, ok := decode([]byte(line))
		assert.True(t, ok, line)
		assert.Equal(t, want, got, line)
	}
	f(`{"name":"n","correlationId":"c","payload":{"a":1}}`, Envelope{Name: "n", CorrelationID: "c", Payload: jsontext.Value(`{"a":1}`)})
	f(`{"name":"n","correlation_id":"c"}`, Envelope{Name: "n", CorrelationID: "c"})
	f(`{"correlation_id":"old","name":"n","correlationId":"c"}`, Envelope{Name: "n", CorrelationID: "c"})
	f(`{"correlationId":"","correlation_id":"c"}`, Envelope{CorrelationID: "c"})
	f(`{"name":"n","payload":null}`, Envelope{Name: "n"})
	f(`{"name":"n","correlationId":{}}`, Envelope{Name: "n"})
	f(`{"NAME":"x","name":"n","CorrelationId":"x","x":1,"x":2}`, Envelope{Name: "n"})
	f(`{"name":"n","payload":1,"payload":2}`, Envelope{Name: "n", malformed: true})
	f(`{"name":"n","error":null,"error":"x"}`, Envelope{Name: "n", malformed: true})
	f("{\"name\":\"n\",\"payload\":{\"a\":\"\xff\"}}", Envelope{Name: "n", Payload: jsontext.Value("{\"a\":\"\xff\"}")})
	f("{\"name\":\"n\xff\",\"correlationId\":\"c\xff\",\"correlation_id\":\"c\"}", Envelope{Name: "n\ufffd", CorrelationID: "c\ufffd"})
	f(`{"id":7,"meta":{"correlationId":"x"},"name":"n","correlationId":"c"}`, Envelope{Name: "n", CorrelationID: "c"})

	for _, line := range []string{
		``, `x`, `null`, `"name"`, `[]`, `{}`, `{"payload":{}}`, `{"name":"n"`, `{"name":"n"}{}`, `{"name":5}`,
		`{"name":"n",}`, `{"name":"n","x":[1}`, `{"name":"n","x"}`, `{"name":"n","x":1 "y":2}`, `{"name":"n",5:6}`, `{"name":"n"]`, `{"name":"n"} x`,
		`{"type":"ping"}`, `{"NAME":"n"}`, `{"name":"n","name":"n"}`,
		`{"name":"n","correlationId":"c","correlationId":"c"}`, `{"name":"n","correlation_id":"c","correlation_id":"d"}`,
	} {
		if e, ok := decode([]byte(line)); ok {
			t.Errorf("decode(%s) = %+v, want none", line, e)
		}
	}
}

func TestEventErrors(t *testing.T) {
	f := func(line string, want *RemoteError) {
		t.Helper()
		e, ok := decode([]byte(line))
		require.True(t, ok, line)
		var got *RemoteError
		err := e.Err()
		if errors.As(err, &got); (err == nil) != (got == nil) || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", line, err, want)
		}
	}
	f(`{"name":"n"}`, nil)
	f(`{"name":"n","error":null,"payload":{"error":null}}`, nil)
	f(`{"name":"n","error":"","payload":{"error":""}}`, nil)
	f(`{"name":"n","error":false,"payload":{"error":{"type":"","code":0,"message":""}}}`, nil)
	f(`{"name":"n","payload":[{"error":"x"}]}`, nil)
	f(`{"name":"n","payload":"error"}`, nil)
	f(`{"name":"n","error":"boom"}`, &RemoteError{"integration_error", "boom"})
	f(`{"name":"n","error":{"type":"t","code":"c","message":"m"}}`, &RemoteError{"t", "m"})
	f(`{"name":"n","error":{"code":"c","message":"m"}}`, &RemoteError{"c", "m"})
	f(`{"name":"n","error":{"code":404,"message":"m"}}`, &RemoteError{"404", "m"})
	f(`{"name":"n","payload":{"state":"ready","error":{"type":"t"}}}`, &RemoteError{"t", unnamedMessage})
	f(`{"name":"n","error":{},"payload":{"error":"boom"}}`, &RemoteError{"integration_error", "boom"})
	f(`{"name":"n","error":"first","payload":{"error":"second"}}`, &RemoteError{"integration_error", "first"})
	f(`{"name":"n","error":true}`, &RemoteError{"integration_error", unnamedMessage})
	f(`{"name":"n","error":[]}`, &RemoteError{"integration_error", unnamedMessage})
	f(`{"name":"n","error":{"detail":"d"}}`, &RemoteError{"integration_error", unnamedMessage})
	f(`{"name":"n","error":{"type":"`+strings.Repeat("t", 99)+`","message":"`+strings.Repeat("ä", 999)+`"}}`,
		&RemoteError{strings.Repeat("t", 64), strings.Repeat("ä", 256)})
}

func TestCleanLeavesNoTokenAndNoControls(t *testing.T) {
	const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
	for in, want := range map[string]string{
		"plain text, 100 %":                                       "plain text, 100 %",
		" a\r\n\tb\x00\x1b[31mc\u202e\xff ":                       "a   b[31mc",
		"gateway_timeout: new_instance_failed, renewal-required":  "gateway_timeout: new_instance_failed, renewal-required",
		"got Bearer abc.def, sorry":                               "got [redacted], sorry",
		"authorization: bearer\tabc":                              "authorization: [redacted]",
		"bad token " + jwt + "!":                                  "bad token [redacted]!",
		"hidden e\u200byJhb\x00GciOiJIUzI1NiJ9.x":                 "hidden [redacted]",
		"signed " + jwt[3:20] + "." + jwt[3:20] + "." + jwt[3:20]: "signed [redacted]",
		"frameworks-based keyboards at host.example.org":          "frameworks-based keyboards at host.example.org",
	} {
		assert.Equal(t, want, clean(in, maxMessage), in)
	}
	assert.NotContains(t, clean(strings.Repeat("x", 99)+jwt, 110), "ey", "a token at the bound")
}
