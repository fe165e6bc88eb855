package usage

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/internal/events"
)

// Which errors of the integration speak of itself, so that the record is sent
// again, and which of the record.
func TestFinal(t *testing.T) {
	for _, c := range []struct {
		kind, message string
		want          bool
	}{
		{"storage_error", "disk", false},
		{"deadlock", "", false},
		{"database is locked", "", false},
		{"connection refused", "", false},
		{"throttled", "", false},
		{"", "", false},
		{"429", "slow down", false},
		{"500", "", false},
		{"400", "", true},
		{"422", "", true},
		{"4000", "", false},
		{"Invalid_Request", "the storage knows no such account", true},
		{events.UnnamedError, "Storage_Error: disk", false},
		{events.UnnamedError, "No such account", true},
		{events.UnnamedError, "", false},
	} {
		assert.Equal(t, c.want, isFinal(&events.RemoteError{Type: c.kind, Message: c.message}), "%s: %s", c.kind, c.message)
	}
}
