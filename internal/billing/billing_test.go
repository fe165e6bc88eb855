package billing

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/events"
)

// What a caller reads of billing's words: foreign text is bounded and free of
// credentials.
func TestDenial(t *testing.T) {
	const plan = "This account needs a billing plan before it can do this."
	for name, c := range map[string]struct {
		answer          string // beside "allowed":false
		reason, message string
		extra           string
	}{
		"quota":           {`,"reason":"quota_exceeded","usage":{"hours":10}`, "quota_exceeded", "The quota of this account is used up.", `{"usage":{"hours":10}}`},
		"its own word":    {`,"reason":"account_frozen","message":"Frozen."`, "account_frozen", "Frozen.", `{}`},
		"no word":         {`,"reason":"Pay up!"`, "billing_required", plan, `{}`},
		"a word too long": {`,"reason":"` + strings.Repeat("a", 65) + `"`, "billing_required", plan, `{}`},
		"all that may be": {`,"action":"a","command":"bus billing setup","plan_id":"p","recommended_plan":"r"`, "billing_required", plan,
			`{"action":"a","command":"bus billing setup","plan_id":"p","recommended_plan":"r"}`},
		"nothing else": {`,"secret":"canary"`, "billing_required", plan, `{}`},
		"a credential": {`,"message":"Bearer canary","command":"curl -H 'Authorization: Bearer canary'"`, "billing_required", "[redacted]", `{"command":"curl -H 'Authorization: [redacted]'"}`},
	} {
		t.Run(name, func(t *testing.T) {
			var got *lifecycle.Error
			_, err := decode(events.Envelope{Payload: []byte(`{"allowed":false` + c.answer + `}`)})
			require.True(t, errors.As(err, &got))
			assert.Equal(t, lifecycle.Denied, got.Kind)
			assert.Equal(t, c.reason, got.Type)
			assert.Equal(t, c.message, got.Message)
			extra, err := json.Marshal(got.Denial)
			require.NoError(t, err)
			assert.JSONEq(t, c.extra, string(extra))
		})
	}
}

// What billing says to an account that may act is kept with its operation.
func TestEntitled(t *testing.T) {
	for answer, want := range map[string]lifecycle.Entitlement{
		``:                                       {Reason: "allowed"},
		`,"reason":"Of course!"`:                 {Reason: "allowed"},
		`,"reason":"included","plan_id":"small"`: {Reason: "included", PlanID: "small"},
		`,"reason":7,"plan_id":"Bearer canary"`:  {Reason: "allowed", PlanID: "[redacted]"},
	} {
		got, err := decode(events.Envelope{Payload: []byte(`{"allowed":true` + answer + `}`)})
		require.NoError(t, err)
		assert.Equal(t, want, got, answer)
	}
}
