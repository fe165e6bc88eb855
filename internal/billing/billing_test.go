package billing

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// What a caller reads of billing's words: foreign text is bounded and free of
// credentials.
func TestDenial(t *testing.T) {
	const plan = "This account needs a billing plan before it can do this."
	usage := `"` + strings.Repeat("x", 64<<10-2) + `"`
	for name, c := range map[string]struct {
		answer          string // beside "allowed":false
		reason, message string
		extra           string
	}{
		"no reason":       {``, "billing_required", plan, `{}`},
		"quota":           {`,"reason":"quota_exceeded","usage":{"hours":10}`, "quota_exceeded", "The quota of this account is used up.", `{"usage":{"hours":10}}`},
		"its own word":    {`,"reason":"account_frozen","message":"Frozen."`, "account_frozen", "Frozen.", `{}`},
		"no word":         {`,"reason":"Pay up!"`, "billing_required", plan, `{}`},
		"a word too long": {`,"reason":"` + strings.Repeat("a", 65) + `"`, "billing_required", plan, `{}`},
		"all that may be": {`,"action":"a","command":"bus billing setup","plan_id":"p","recommended_plan":"r"`, "billing_required", plan,
			`{"action":"a","command":"bus billing setup","plan_id":"p","recommended_plan":"r"}`},
		"other types":        {`,"reason":1,"message":2,"action":3,"command":[],"plan_id":null,"recommended_plan":{}`, "billing_required", plan, `{}`},
		"other names":        {`,"Reason":"quota_exceeded","ALLOWED":true,"Allowed":true`, "billing_required", plan, `{}`},
		"repeated":           {`,"command":"a","command":"b"`, "billing_required", plan, `{}`},
		"nothing else":       {`,"secret":"canary"`, "billing_required", plan, `{}`},
		"a credential":       {`,"message":"Bearer canary","command":"curl -H 'Authorization: Bearer canary'"`, "billing_required", "[redacted]", `{"command":"curl -H 'Authorization: [redacted]'"}`},
		"a line end":         {`,"message":"one\r\ntwo"`, "billing_required", "one  two", `{}`},
		"as much usage":      {`,"usage":` + usage, "billing_required", plan, `{"usage":` + usage + `}`},
		"usage that is null": {`,"usage":null`, "billing_required", plan, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			var got *lifecycle.Error
			require.True(t, errors.As(decode(events.Envelope{Payload: []byte(`{"allowed":false` + c.answer + `}`)}), &got))
			assert.Equal(t, lifecycle.Denied, got.Kind)
			assert.Equal(t, c.reason, got.Type)
			assert.Equal(t, c.message, got.Message)
			extra, err := json.Marshal(got.Extra)
			require.NoError(t, err)
			assert.JSONEq(t, c.extra, string(extra))
		})
	}
}

// An answer is a yes, a no, or malformed; only its own member decides.
func TestAllowed(t *testing.T) {
	for _, answer := range []string{`{"allowed":true}`, `{"allowed":true,"plan_id":7}`, `{"allowed":true,"plan_id":1,"plan_id":2,"usage":1e999}`, `{"Allowed":false,"allowed":true}`} {
		assert.NoError(t, decode(events.Envelope{Payload: []byte(answer)}), answer)
	}
	for _, answer := range []string{
		``, `[]`, `{}`, `{"allowed":"true"}`, `{"allowed":1}`, `{"ALLOWED":true}`, `{"allowed":false,"allowed":true}`, `{"allowed":true,"allowed":true}`,
		`{"allowed":false,"usage":1e999}`, `{"allowed":false,"usage":"` + strings.Repeat("x", 64<<10) + `"}`,
	} {
		assert.ErrorIs(t, decode(events.Envelope{Payload: []byte(answer)}), events.ErrMalformed, answer)
	}
	var remote *events.RemoteError
	assert.ErrorAs(t, decode(events.Envelope{Payload: []byte(`{"allowed":true,"error":"down"}`)}), &remote)
}
