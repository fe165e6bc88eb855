package doctor

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReport(t *testing.T) {
	fine := Check{"settings", OK, "right", ""}
	unwise := Check{"jwt secret", Warning, "<short>", "make one"}
	broken := Check{"data directory", Failed, "no space", "free some"}
	for _, c := range []struct {
		checks []Check
		result Status
		text   string
		json   string
	}{
		{[]Check{fine}, OK, "ok    settings        right\n",
			"{\n  \"result\": \"ok\",\n  \"checks\": [\n    {\n      \"name\": \"settings\",\n      \"status\": \"ok\",\n      \"detail\": \"right\"\n    }\n  ]\n}\n"},
		{[]Check{unwise, fine}, Warning, "warn  jwt secret      <short>\n                      do: make one\nok    settings        right\n", ""},
		{[]Check{unwise, broken, fine}, Failed, "", ""},
	} {
		r := Report{c.checks}
		assert.Equal(t, c.result, r.Result())
		var b bytes.Buffer
		require.NoError(t, r.WriteText(&b))
		if c.text != "" {
			assert.Equal(t, c.text, b.String())
		}
		b.Reset()
		require.NoError(t, r.WriteJSON(&b))
		if c.json != "" {
			assert.Equal(t, c.json, b.String())
		}
	}
	assert.Equal(t, 1, Report{[]Check{unwise, broken, fine}}.Count(Failed))
}
