package usage

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/internal/events"
)

// Which errors of the integration speak of itself, so that the record is sent
// again, and which of the record.
func TestPasses(t *testing.T) {
	for _, c := range []struct {
		kind, message string
		want          bool
	}{
		{"storage_error", "disk", true},
		{"Service_Unavailable", "", true},
		{"INTERNAL", "", true},
		{"429", "slow down", true},
		{"500", "", true},
		{"503", "", true},
		{"400", "", false},
		{"5000", "", false},
		{"invalid_request", "the storage knows no such account", false},
		{events.UnnamedError, "Storage_Error: disk", true},
		{events.UnnamedError, "no such account", false},
	} {
		assert.Equal(t, c.want, passes(&events.RemoteError{Type: c.kind, Message: c.message}), "%s: %s", c.kind, c.message)
	}
}
