package platform

import (
	"context"
	"fmt"
	"slices"
)

// Want is what must be on record for an operation.
type Want int

const (
	// WantFinished: requested, then finished. An operation answered 202.
	WantFinished Want = iota
	// WantFailed: requested, then failed. Answered 502 by the worker's error.
	WantFailed
	// WantClosed: requested, then either end. Answered 503 after the publish.
	WantClosed
	// WantNothing: no record at all. Refused before any work: 4xx, or 503
	// before the publish.
	WantNothing
	// WantWhole: nothing, or requested and an end. The caller got no answer.
	WantWhole
)

// Operation is one start or stop that a test made.
type Operation struct {
	Account, RequestID string
	Action             string // start or stop
	Want               Want
}

func (o Operation) String() string {
	return fmt.Sprintf("%s of %s by %s", o.Action, o.RequestID, o.Account)
}

// outcomeUnknown is the outcome of an end that a correction may follow.
const outcomeUnknown = "unknown"

// trail is what is on record for one operation.
type trail struct{ requested, ends, corrections []UsageRecord }

// Check compares the records with the operations and returns every breach, in
// a stable order; none is good. Whatever is on record, named in operations or
// not, must be whole: one requested and, after it, one finished or failed, and
// after an end with an unknown outcome perhaps one correction (data.corrects),
// each under its own event_id. Operations are told apart by account, request id and
// action, so a test gives each its own request id. What the worker noted
// itself is part of the answer.
func (u *UsageWorker) Check(operations ...Operation) []string {
	trails := map[Operation]*trail{}
	for _, r := range u.Records() {
		key := Operation{Account: r.Account, RequestID: r.RequestID, Action: r.action}
		t := trails[key]
		if t == nil {
			t = &trail{}
			trails[key] = t
		}
		_, corrects := r.Data["corrects"]
		switch {
		case corrects:
			t.corrections = append(t.corrections, r)
		case r.phase == phaseRequested:
			t.requested = append(t.requested, r)
		default:
			t.ends = append(t.ends, r)
		}
	}
	var found []string
	for key, t := range trails {
		found = append(found, t.breaches(key)...)
	}
	for _, op := range operations {
		key := op
		key.Want = 0
		if breach := op.Want.breach(trails[key]); breach != "" {
			found = append(found, fmt.Sprintf("%s: %s", op, breach))
		}
	}
	slices.Sort(found)
	return append(found, u.violations()...)
}

// breaches returns how t is not whole.
func (t *trail) breaches(key Operation) (found []string) {
	report := func(format string, args ...any) {
		found = append(found, fmt.Sprintf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	ends := t.ends
	if n := len(t.requested); n != 1 {
		report("%d requested records, want 1", n)
	}
	if n := len(ends); n != 1 {
		report("%d terminal records, want 1", n)
	}
	if len(t.requested) > 0 && len(ends) > 0 && ends[0].order < t.requested[0].order {
		report("the terminal record came before the requested one")
	}
	if n := len(t.corrections); n > 1 {
		report("%d corrections, want at most 1", n)
	}
	for _, c := range t.corrections {
		switch {
		case len(ends) == 0, ends[0].order > c.order:
			report("a correction came before the terminal record")
		case c.Data["corrects"] != ends[0].EventID:
			report("the correction is of %v, and the terminal record is %s", c.Data["corrects"], ends[0].EventID)
		case ends[0].Data["outcome"] != outcomeUnknown:
			report("a correction of the outcome %v, which was known", ends[0].Data["outcome"])
		case c.Data["outcome"] == outcomeUnknown:
			report("a correction that knows no more")
		}
	}
	return found
}

// breach returns how t is not what w wants, or "". t is nil without records.
func (w Want) breach(t *trail) string {
	if t == nil {
		if w == WantNothing || w == WantWhole {
			return ""
		}
		return "no record"
	}
	ended := func(finished bool) bool {
		return slices.ContainsFunc(t.ends, func(r UsageRecord) bool { return (r.phase == phaseFinished) == finished })
	}
	switch {
	case w == WantNothing:
		return "there are records of work that was refused"
	case w == WantFinished && !ended(true):
		return "accepted, but not on record as finished"
	case w == WantFailed && !ended(false):
		return "failed, but not on record as failed"
	}
	return ""
}

// WaitClean waits until Check finds nothing, or ctx ends.
func (u *UsageWorker) WaitClean(ctx context.Context, operations ...Operation) error {
	return u.changed.wait(ctx, func() bool { return len(u.Check(operations...)) == 0 })
}
