package doctor

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// found is a check as the tables of these tests have it: patterns of what it
// says.
type found struct {
	status     Status
	detail, do string
}

// requireChecks compares what a look found, check by check.
func requireChecks(t *testing.T, about, name string, got []Check, want ...found) {
	t.Helper()
	if !assert.Len(t, got, len(want), "%s: %+v", about, got) {
		return
	}
	for i, w := range want {
		assert.Equal(t, name, got[i].Name, about)
		assert.Equal(t, w.status, got[i].Status, "%s: %+v", about, got[i])
		assert.Regexp(t, regexp.MustCompile("^(?:"+w.detail+")$"), got[i].Detail, about)
		assert.Regexp(t, regexp.MustCompile("^(?:"+w.do+")$"), got[i].Do, about)
		assert.Equal(t, w.status == OK, got[i].Do == "", "%s: whatever is wrong says what to do", about)
	}
}

var errNoGroup = errors.New("group: unknown group no-such-group")

func noGroup(string) (int, error) { return 0, errNoGroup }

func background() context.Context { return context.Background() }

// problems are the checks of found that are not OK.
func problems(found []Check) []Check {
	return slices.DeleteFunc(found, func(c Check) bool { return c.Status == OK })
}
