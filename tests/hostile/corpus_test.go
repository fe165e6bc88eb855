package hostile

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// The tables hold what they once held, and no case twice.
func TestCorpus(t *testing.T) {
	names, texts := map[string]bool{}, map[string]bool{}
	add := func(name, text string) {
		assert.False(t, names[name], "the name %q is there twice", name)
		assert.False(t, texts[text], "%s is there under another name", name)
		names[name], texts[text] = true, true
	}
	tokens, requests, replies := BadTokens("a secret of this test, of 36 bytes..", time.Unix(1_800_000_000, 0)), Requests(), Replies()
	for _, token := range tokens {
		add("token "+token.Name, token.Text)
	}
	for _, request := range requests {
		add("request "+request.Name, request.Raw)
	}
	for _, reply := range replies {
		add("reply "+reply.Name, string(reply.To)+reply.Payload)
	}
	assert.GreaterOrEqual(t, len(tokens), 226, "tokens")
	assert.GreaterOrEqual(t, len(requests), 150, "requests")
	assert.GreaterOrEqual(t, len(replies), 120, "replies")
	t.Logf("%d tokens, %d requests, %d replies", len(tokens), len(requests), len(replies))
}
