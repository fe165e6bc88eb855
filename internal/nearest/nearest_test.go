package nearest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestName(t *testing.T) {
	known := []string{"addr", "admin-addr", "timeout", "log-level", "log-format", "BUS_VM_TIMEOUT"}
	for name, want := range map[string]string{
		"adr": "addr", "addr": "addr", "Addr": "addr", "tiemout": "timeout", "log": "log-level", "log-f": "log-format",
		"BUS_VM_TIMEOT": "BUS_VM_TIMEOUT", "": "", "x": "", "ad": "", "colour": "", "timeouts-of-all": "", strings.Repeat("a", 1<<20): "",
	} {
		assert.Equal(t, want, Name(name, known), name[:min(20, len(name))])
	}
	assert.Empty(t, Name("addr", nil))
}
