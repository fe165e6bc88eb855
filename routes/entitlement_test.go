package routes_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/routes"
)

// Each answer of billing is counted by what it means; a caller whom billing is
// not asked about counts for nothing.
func TestEntitlementAnswersAreCounted(t *testing.T) {
	set := metrics.NewSet()
	w := serve(t, func(w *world, c *routes.Config) {
		everything(w, c)
		c.Metrics = set
	})
	for _, answer := range []error{
		nil, nil, nil, nil,
		deny(t.Context(), "", ""), &backend.Error{Kind: backend.Denied, Type: "any_word"}, deny(t.Context(), "", ""),
		away("x", nil), away("x", errors.New("x")),
		rejection("any_word", "x", nil),
		errors.New("x"), errors.New("x"), errors.New("x"), errors.New("x"),
	} {
		w.billing.answer = func(context.Context, string, string) error { return answer }
		w.call(t, "POST", "/api/v1/vm/start", both(), "")
	}
	w.call(t, "POST", "/api/v1/vm/start", both(), "x")
	w.call(t, "POST", "/api/v1/vm/start", "", "")
	w.call(t, "GET", "/api/v1/vm/status", both(), "")

	var b bytes.Buffer
	set.WritePrometheus(&b)
	var counted []string
	for line := range strings.Lines(b.String()) {
		if after, ok := strings.CutPrefix(line, "bus_vm_entitlement_answers_total"); ok {
			counted = append(counted, strings.TrimSpace(after))
		}
	}
	assert.Equal(t, []string{`{result="allowed"} 4`, `{result="denied"} 3`, `{result="failed"} 5`, `{result="unanswered"} 2`}, counted)
}
