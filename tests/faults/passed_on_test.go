package faults

import (
	"net/http"
	"strings"
	"testing"

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

// A status is passed on within bounds; what is larger, deeper or no valid text
// or number is malformed.
func TestBoundsOfStatus(t *testing.T) {
	t.Parallel()
	type row struct {
		payload, status string // no status is a 502
	}
	rows := map[string]row{}
	for name, c := range map[string]struct {
		state  string
		passed bool
	}{
		"256 characters":            {strings.Repeat("a", maxState), true},
		"257 characters":            {strings.Repeat("a", maxState+1), false},
		"256 characters of 2 bytes": {strings.Repeat("ä", maxState), true},
		"257 characters of 2 bytes": {strings.Repeat("ä", maxState+1), false},
		"256 characters of 4 bytes": {strings.Repeat("😀", maxState), true},
		"257 characters of 4 bytes": {strings.Repeat("😀", maxState+1), false},
		"900 KB":                    {strings.Repeat("a", large), false},
		"a lone surrogate":          {`\ud800`, false},
		"invalid UTF-8":             {"\xff", false},
	} {
		r := row{payload: `{"state":"` + c.state + `"}`}
		if c.passed {
			r.status = `{"state":"` + c.state + `","provider":"events"}`
		}
		rows["a state: "+name] = r
	}
	for name, c := range foreign {
		r := row{payload: `{"state":"ready","provider":"x","details":` + c.object + `}`}
		if c.passed {
			r.status = `{"state":"ready","provider":"x","details":` + c.object + `}`
		}
		rows["details: "+name] = r
	}
	r := newRig(t)
	r.untraced = true
	g := r.gateway()
	for name, c := range rows {
		read := r.newRead(g, c.payload)
		switch {
		case c.status == "":
			if read.status != http.StatusBadGateway || read.failure().Type != "bad_gateway" {
				t.Errorf("%s: %d %.200s, want 502 bad_gateway", name, read.status, read.answer.body)
			}
		case read.status != http.StatusOK || read.answer.body != `{"status":`+c.status+`}`:
			t.Errorf("%s: %d %.200s, want 200 with %.200s", name, read.status, read.answer.body, c.status)
		}
	}
}

// Of a denial, billing's usage is passed on within the same bounds.
func TestBoundsOfBillingUsage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	for name, c := range foreign {
		r.Billing.SetBehaviour(says(`{"allowed":false,"reason":"quota_exceeded","usage":` + c.object + `}`))
		status, kind, usage := http.StatusPaymentRequired, "quota_exceeded", c.object
		if !c.passed {
			status, kind, usage = http.StatusBadGateway, "bad_gateway", ""
		}
		w := r.write(g, start)
		if f := w.failure(); w.status != status || f.Type != kind || string(f.Usage) != usage {
			t.Errorf("%s: %d %.200s, want %d %s with usage %.200s", name, w.status, w.answer.body, status, kind, usage)
		}
	}
	if n := r.Events.Accepted(platform.StartRequest); n > 0 {
		t.Errorf("%d starts were published", n)
	}
}
