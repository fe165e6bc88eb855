package faults

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// The bounds of what is passed on of a reply (contract §4).
const (
	maxState   = 256      // characters
	maxForeign = 64 << 10 // bytes of details, and of billing's usage
	maxLevels  = 32       // of them, the outermost object counted
)

// large is near what the Events API takes as one event.
const large = 900_000

// sized is a JSON object of so many bytes.
func sized(bytes int) string {
	const empty = `{"a":""}`
	return `{"a":"` + strings.Repeat("x", bytes-len(empty)) + `"}`
}

// nested is a JSON object with so many levels, of objects and lists in turn.
func nested(levels int) string {
	inner := "1"
	for i := levels; i > 0; i-- {
		if i%2 == 1 {
			inner = `{"a":` + inner + `}`
		} else {
			inner = `[` + inner + `]`
		}
	}
	return inner
}

// foreign are objects that a worker may put in an answer, and whether they are
// passed on.
var foreign = map[string]struct {
	object string
	passed bool
}{
	"64 KiB":             {sized(maxForeign), true},
	"a byte more":        {sized(maxForeign + 1), false},
	"900 KB":             {sized(large), false},
	"32 levels":          {nested(maxLevels), true},
	"33 levels":          {nested(maxLevels + 1), false},
	"9,000 levels":       {nested(9000), false},
	"a double":           {`{"a":[1e308,-1.7976931348623157e308,0.1,9007199254740993]}`, true},
	"1e999":              {`{"a":1e999}`, false},
	"-1e999, inside":     {`{"a":[{"b":-1e999}]}`, false},
	"a surrogate pair":   {`{"a":"\ud83d\ude00"}`, true},
	"a lone surrogate":   {`{"a":"\ud800"}`, false},
	"a low surrogate":    {`{"a":"\udc00x"}`, false},
	"a reversed pair":    {`{"a":"\ude00\ud83d"}`, false},
	"a lone one, a name": {`{"\ud800":1}`, false},
	"an escaped escape":  {`{"a":"\\ud800"}`, true},
	"invalid UTF-8":      {"{\"a\":\"\xff\"}", false},
	"half a character":   {"{\"a\":\"\xc3\"}", false},
	"a UTF-8 surrogate":  {"{\"a\":\"\xed\xa0\x80\"}", false},
	"UTF-8":              {`{"ä":"€😀"}`, true},
}

// newRead reads a status that was asked for after the worker began to behave so:
// a write before it makes every older one worthless.
func (r *rig) newRead(g *gateway, how platform.Behaviour) *call {
	r.t.Helper()
	how.Names = []string{platform.StatusRequest}
	r.vmBehaves(how)
	r.back(g)
	return r.read(g)
}

// A status is its member state, once; other members that are not what they should
// be are left out. It is passed on within bounds; what is larger, deeper or no
// valid text or number is malformed.
func TestStatusReplies(t *testing.T) {
	statuses := map[string]string{ // what is shown of a payload; nothing is a 502
		`{"state":"hibernating","provider":"x"}`:                    `{"state":"hibernating","provider":"x"}`,
		`{"provider":"x"}`:                                          "",
		`{"state":1}`:                                               "",
		`null`:                                                      "",
		`{"ſtate":"ready"}`:                                         "",
		`{"State":"ready"}`:                                         "",
		`{"status":{"STATE":"ready"}}`:                              "",
		`{"Status":{"state":"ready"}}`:                              "",
		`{"state":"stopped","state":"ready"}`:                       "",
		`{"state":"ready","\u0073tate":"ready"}`:                    "",
		`{"status":{"state":"stopped","state":"ready"}}`:            "",
		`{"status":{"state":"stopped"},"status":{"state":"ready"}}`: "",
		`{"state":"ready","error":"gone","error":null}`:             "",
		"{\"state\":\"\xff\"}":                                      "",

		`{"status":{"state":"ready"}}`:                                    `{"state":"ready","provider":"events"}`,
		`{"state":"ready","State":"stopped"}`:                             `{"state":"ready","provider":"events"}`,
		`{"state":"ready","status":"ok"}`:                                 `{"state":"ready","provider":"events"}`,
		`{"state":"ready","provider":7}`:                                  `{"state":"ready","provider":"events"}`,
		`{"state":"ready","provider":"x","details":"text"}`:               `{"state":"ready","provider":"x"}`,
		`{"state":"ready","provider":"x","details":[]}`:                   `{"state":"ready","provider":"x"}`,
		`{"status":{"state":"ready","provider":[],"details":1}}`:          `{"state":"ready","provider":"events"}`,
		`{"state":"ready","provider":"x","details":{"State":1,"a":null}}`: `{"state":"ready","provider":"x","details":{"State":1,"a":null}}`,

		`{"state":"\ud800"}`:                             "",
		`{"state":"` + strings.Repeat("a", large) + `"}`: "",
	}
	for _, character := range []string{"a", "ä", "😀"} {
		state := `{"state":"` + strings.Repeat(character, maxState)
		statuses[state+`"}`] = state + `","provider":"events"}`
		statuses[state+character+`"}`] = ""
	}
	for _, c := range foreign {
		status := `{"state":"ready","provider":"x","details":` + c.object + `}`
		if statuses[status] = ""; c.passed {
			statuses[status] = status
		}
	}
	r := newRig(t)
	r.untraced = true
	g := r.gateway()
	for payload, status := range statuses {
		read := r.newRead(g, says(payload))
		if status == "" {
			r.expect(payload, read, http.StatusBadGateway, malformed)
			continue
		}
		r.expect(payload, read, http.StatusOK, "")
		assert.True(t, read.answer.body == `{"status":`+status+`}`, "%.200s: %.200s", payload, read.answer.body)
	}
	r.expect("slow", r.newRead(g, platform.Behaviour{Delay: 100 * time.Millisecond}), http.StatusOK, "")
	r.expect("its own error", r.newRead(g, refuses(platform.EventError{Code: "vm_gone", Message: "no such machine"})), http.StatusBadGateway, "vm_gone")
	r.expect("deaf", r.newRead(r.gateway(hurried), platform.Behaviour{Deaf: true}), http.StatusServiceUnavailable, unavailable)
}

// A line with two correlation ids answers neither of them, in the history either.
// Once the line is well, the next stream that opens finds what it says there.
func TestRepeatedCorrelationID(t *testing.T) {
	r := newRig(t)
	g := r.gateway(hurried, "BUS_VM_LATE_REPLY=300ms")
	r.Events.SetFaults(platform.Faults{Names: []string{platform.ReplyName(platform.StartRequest)}, RepeatID: true})
	writes := r.published(func() *call { return r.write(g, start) }, 3)
	for _, w := range writes {
		r.wantRecord(r.wantOutcome(w, http.StatusServiceUnavailable, unavailable, unknown), "failed", "unknown")
	}
	r.Events.SetFaults(platform.Faults{})
	r.Events.CutStreams()
	r.wantCorrections(writes, "accepted")
	r.back(g)
}
