package billing

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/apierror"
)

// What a caller reads of billing's words, and what metrics count: foreign text is
// bounded, free of credentials, and no time series of its own.
func TestDenial(t *testing.T) {
	const plan = "This account needs a billing plan before it can do this."
	usage := func(size int) string { return `"` + strings.Repeat("x", size-2) + `"` }
	for name, c := range map[string]struct {
		answer, reason, want string // want is the envelope's error object
	}{
		"no reason":          {`{}`, "billing_required", `{"type":"billing_required","message":"` + plan + `"}`},
		"quota":              {`{"reason":"quota_exceeded","usage":{"hours":10}}`, "quota_exceeded", `{"type":"quota_exceeded","message":"The quota of this account is used up.","usage":{"hours":10}}`},
		"its own word":       {`{"reason":"account_frozen","message":"Frozen."}`, "", `{"type":"account_frozen","message":"Frozen."}`},
		"no word":            {`{"reason":"Pay up!"}`, "billing_required", `{"type":"billing_required","message":"` + plan + `"}`},
		"a word too long":    {`{"reason":"` + strings.Repeat("a", 65) + `"}`, "billing_required", `{"type":"billing_required","message":"` + plan + `"}`},
		"all that may be":    {`{"action":"a","command":"bus billing setup","plan_id":"p","recommended_plan":"r"}`, "billing_required", `{"type":"billing_required","message":"` + plan + `","action":"a","command":"bus billing setup","plan_id":"p","recommended_plan":"r"}`},
		"nothing else":       {`{"secret":"canary","allowed":false}`, "billing_required", `{"type":"billing_required","message":"` + plan + `"}`},
		"a credential":       {`{"message":"Bearer canary","command":"curl -H 'Authorization: Bearer canary'"}`, "billing_required", `{"type":"billing_required","message":"[redacted]","command":"curl -H 'Authorization: [redacted]'"}`},
		"a line end":         {`{"message":"one\r\ntwo"}`, "billing_required", `{"type":"billing_required","message":"one  two"}`},
		"as much usage":      {`{"usage":` + usage(maxUsage) + `}`, "billing_required", `{"type":"billing_required","message":"` + plan + `","usage":` + usage(maxUsage) + `}`},
		"more usage":         {`{"usage":` + usage(maxUsage+1) + `}`, "billing_required", `{"type":"billing_required","message":"` + plan + `"}`},
		"usage that is null": {`{"usage":null}`, "billing_required", `{"type":"billing_required","message":"` + plan + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			var a answer
			require.NoError(t, json.Unmarshal([]byte(c.answer), &a))
			var got *apierror.Error
			require.True(t, errors.As(a.denial(), &got))
			assert.Equal(t, 402, got.HTTPStatus())
			assert.Equal(t, `{"error":`+c.want+`}`, string(got.AppendEnvelope(nil, "")))
			assert.Equal(t, c.reason, got.Reason)
		})
	}
}
