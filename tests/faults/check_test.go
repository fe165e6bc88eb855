package faults

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// entry is an accepted publish, with its place in the order of all of them.
type entry struct {
	platform.Published
	at                   int
	AccountID, RequestID string // of a request's payload
	allows               bool   // a reply that allows, by its exact member names
}

func newEntry(p platform.Published, at int) entry {
	e := entry{Published: p, at: at}
	var members map[string]json.RawMessage // unlike a struct's fields, told apart by case
	_ = json.Unmarshal(p.Payload, &members)
	_ = json.Unmarshal(members["account_id"], &e.AccountID) // a wrong payload names no account
	_ = json.Unmarshal(members["request_id"], &e.RequestID)
	failure := members["error"]
	e.allows = string(members["allowed"]) == "true" && (failure == nil || string(failure) == "null")
	return e
}

// trace is what the Events API accepted, in its order.
type trace struct {
	all       []entry
	byAccount map[string][]entry // requests, by the account that they name
	replies   map[string]entry   // the first to each name and correlation id
}

func (r *rig) trace() trace {
	t := trace{byAccount: map[string][]entry{}, replies: map[string]entry{}}
	for _, p := range r.Events.Published("") {
		if p.Status != http.StatusAccepted {
			continue
		}
		e := newEntry(p, len(t.all))
		t.all = append(t.all, e)
		if strings.HasSuffix(p.Name, ".request") {
			t.byAccount[e.AccountID] = append(t.byAccount[e.AccountID], e)
			continue
		}
		key := p.Name + " " + p.CorrelationID
		if _, again := t.replies[key]; !again {
			t.replies[key] = e
		}
	}
	return t
}

// reply is the first reply to a request.
func (t trace) reply(request entry) (entry, bool) {
	e, ok := t.replies[platform.ReplyName(request.Name)+" "+request.CorrelationID]
	return e, ok
}

// requestOf is the status request that a read shows the answer to.
func (t trace) requestOf(read *call) (entry, bool) {
	id := read.echoed()
	at := slices.IndexFunc(t.all, func(e entry) bool { return e.Name == platform.StatusRequest && e.CorrelationID == id })
	if at < 0 {
		return entry{}, false
	}
	return t.all[at], true
}

func isWrite(name string) bool { return name == platform.StartRequest || name == platform.StopRequest }

// lifecyclePublishes are the starts and stops that reached the Events API.
func (r *rig) lifecyclePublishes() (found []entry) {
	for _, e := range r.trace().all {
		if isWrite(e.Name) {
			found = append(found, e)
		}
	}
	return found
}

// publishedWrites are their request ids.
func (r *rig) publishedWrites() map[string]bool {
	ids := map[string]bool{}
	for _, e := range r.lifecyclePublishes() {
		ids[e.RequestID] = true
	}
	return ids
}

// maxReported bounds what a failed check prints: one fault makes many breaches.
const maxReported = 5

// check holds the platform's records to what must be true after every test.
func (r *rig) check() {
	r.t.Helper()
	var breaches []string
	report := func(format string, args ...any) { breaches = append(breaches, fmt.Sprintf(format, args...)) }
	t := r.trace()
	r.checkAnswers(report)
	r.checkPublishes(t, report)
	r.checkReads(t, report)
	r.checkEnds(t, report)
	breaches = append(breaches, r.Check(r.operations()...)...)
	for _, g := range r.lives {
		breaches = append(breaches, harness.Leaks(g.log.all(), eventsSecret, callerSecret)...)
	}
	for i, breach := range breaches {
		if i == maxReported {
			r.t.Errorf("… and %d more", len(breaches)-i)
			break
		}
		r.t.Error(breach)
	}
	assert.True(r.t, len(r.book.writes) > 0 || r.t.Skipped(), "the test made no write")
	r.t.Logf("%d writes answered %v, %d reads, %d publishes", len(r.book.writes), r.book.statuses(), len(r.book.reads), len(t.all))
}

// checkAnswers: one right answer for each call, and none only from a gateway
// that was killed.
func (r *rig) checkAnswers(report func(string, ...any)) {
	for _, c := range slices.Concat(r.book.writes, r.book.reads) {
		if flaw := c.flaw(); flaw != "" && (c.err == nil || !c.gateway.killed.Load()) {
			report("%s: %s", c, flaw)
		}
	}
}

// checkPublishes: no write without an allowance before it, none twice, nothing
// for the refused, and nothing under another name than the provider's own.
func (r *rig) checkPublishes(t trace, report func(string, ...any)) {
	for _, e := range t.all {
		if e.Account != platform.Identity {
			report("%s was published by %q", e.Name, e.Account)
		}
		if isWrite(e.Name) {
			if at, ok := t.allowance(e.AccountID); !ok || at > e.at {
				report("%s of request %s was published without an allowance before it", e.Name, e.RequestID)
			}
		}
	}
	for _, c := range r.book.writes {
		writes, others, checks := 0, 0, 0
		for _, e := range t.byAccount[c.account] {
			switch {
			case isWrite(e.Name):
				if e.RequestID == c.requestID {
					writes++
				}
			case e.Name == platform.EntitlementRequest:
				checks++
			default:
				others++
			}
		}
		_, allowed := t.allowance(c.account)
		switch {
		case writes > 1:
			report("%s: %d publishes", c, writes)
		case writes > 0 && (c.failure().Outcome == "not_sent" || strings.Contains(c.failure().Message, "nothing was done")):
			report("%s: said to be nothing, and published", c)
		case c.doubtful() && !allowed:
			report("%s: said to be under way, without an allowance", c)
		case refused[c.status] && writes+others > 0:
			report("%s: refused, but %d publishes", c, writes+others)
		case refused[c.status] && c.status != http.StatusPaymentRequired && checks > 0:
			report("%s: refused, but billing was asked", c)
		}
	}
}

var refused = map[int]bool{
	http.StatusBadRequest: true, http.StatusUnauthorized: true,
	http.StatusPaymentRequired: true, http.StatusForbidden: true,
}

// allowance is where billing allowed an account first. Every write has an account
// of its own.
func (t trace) allowance(account string) (at int, ok bool) {
	for _, e := range t.byAccount[account] {
		if e.Name == platform.EntitlementRequest {
			if reply, _ := t.reply(e); reply.allows {
				return reply.at, true
			}
		}
	}
	return 0, false
}

// checkReads: whatever a read after a 202 showed was asked for after the reply
// that made the 202.
func (r *rig) checkReads(t trace, report func(string, ...any)) {
	if r.untraced {
		return
	}
	acceptedAt := map[string]int{}
	for _, e := range t.all {
		if reply, ok := t.reply(e); isWrite(e.Name) && ok {
			acceptedAt[e.RequestID] = reply.at
		}
	}
	for _, read := range r.book.reads {
		if read.status != http.StatusOK {
			continue
		}
		asked, known := t.requestOf(read)
		if !known {
			report("%s: no request for that status", read)
			continue
		}
		for _, write := range r.book.writes {
			if write.status == http.StatusAccepted && write.gateway.home == read.gateway.home &&
				write.ended.Before(read.began) && acceptedAt[write.requestID] > asked.at {
				report("%s: asked for before the write %s was accepted", read, write.requestID)
			}
		}
	}
}

// checkEnds: the last record of a write says what the worker said first, if that
// can be read and the history has it.
func (r *rig) checkEnds(t trace, report func(string, ...any)) {
	own := map[string]bool{}
	for _, c := range r.book.writes {
		own[c.requestID] = true
	}
	for _, e := range t.all {
		reply, ok := t.reply(e)
		outcome := reply.outcome()
		if !isWrite(e.Name) || !own[e.RequestID] || !ok || outcome == "" || r.forgotten {
			continue
		}
		if records := r.Usage.RecordsFor(e.RequestID); len(records) < 2 || records[len(records)-1].Data["outcome"] != outcome {
			report("the worker said %s to request %s, the records %v", outcome, e.RequestID, records)
		}
	}
}

// outcome is what a reply to a write plainly says, or "".
func (e entry) outcome() string {
	failed := len(e.Error) > 0 && string(e.Error) != "null"
	switch text := string(e.Payload); {
	case strings.Count(text, `"accepted"`) > 1: // malformed
	case failed, strings.HasPrefix(text, `{"accepted":false`), strings.HasPrefix(text, `{"error":{"`):
		return "rejected"
	case strings.Contains(text, `"accepted":true,"action":"`):
		return "accepted"
	}
	return ""
}
