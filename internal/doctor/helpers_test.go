package doctor

import (
	"context"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is one with empty settings, which listens as the real one does.
func service() Service {
	s := Service{Config: &config.Config{}}
	s.Socket.Mode = 0o660
	s.Listen = server.Listen
	return s
}

// examine is what one examination finds.
func examine(examination func(context.Context, *Report)) []Check {
	var r Report
	examination(context.Background(), &r)
	return r.Checks
}

// found is a check as the tables of these tests have it: patterns of what it
// says.
type found struct {
	status     Status
	detail, do string
}

// requireChecks compares what was found under a name, check by check.
func requireChecks(t *testing.T, about, name string, got []Check, want ...found) {
	t.Helper()
	got = slices.DeleteFunc(slices.Clone(got), func(c Check) bool { return c.Name != name })
	if !assert.Len(t, got, len(want), "%s: %+v", about, got) {
		return
	}
	for i, w := range want {
		assert.Equal(t, w.status, got[i].Status, "%s: %+v", about, got[i])
		assert.Regexp(t, "^(?:"+w.detail+")$", got[i].Detail, about)
		assert.Regexp(t, "^(?:"+w.do+")$", got[i].Do, about)
		assert.Equal(t, w.status == OK, got[i].Do == "", "%s: whatever is wrong says what to do", about)
	}
}

// writeFile makes a file of that mode, whatever the umask.
func writeFile(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), mode))
	require.NoError(t, os.Chmod(path, mode))
	return path
}
