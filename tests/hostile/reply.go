package hostile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// To is the request that a reply answers.
type To string

// The requests whose replies are in the table.
const (
	Status  To = "status"
	Start   To = "start"
	Billing To = "billing"
)

// Reply is the payload of one reply that comes from the Events API, and what its
// caller is told.
type Reply struct {
	To            To
	Name, Payload string
	Status        int
	// Type and Outcome are of the error; empty for an answer that is none. A start
	// has a record requested, and one that it is finished, or failed with Outcome;
	// what billing does not allow has none.
	Type, Outcome string
	// Shown is what the answer holds of the payload: the status, or the usage of a denial.
	Shown string
}

const malformed = "bad_gateway"

// The bounds of what is passed on of a reply (contract §4).
const (
	maxState   = 256      // characters
	maxForeign = 64 << 10 // bytes of details, and of billing's usage
	maxLevels  = 32       // of them, the outermost object counted
	// large is near what the Events API takes as one event.
	large = 900_000
)

// Replies are those in every shape that the contract takes or refuses: exact
// member names count, once each; a member of another type than expected is ignored
// where the answer can be told without it; what is passed on is bounded.
func Replies() []Reply { return slices.Concat(statusReplies(), startReplies(), billingReplies()) }

func reply(to To, payload string, status int, kind, outcome string) Reply {
	return Reply{To: to, Name: fmt.Sprintf("%s: %.120q", to, payload), Payload: payload, Status: status, Type: kind, Outcome: outcome}
}

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

// foreignReplies are those of each foreign object, in the order of their names.
func foreignReplies(one func(object string, passed bool) Reply) (replies []Reply) {
	for _, name := range slices.Sorted(maps.Keys(foreign)) {
		r := one(foreign[name].object, foreign[name].passed)
		r.Name = string(r.To) + " with " + name
		replies = append(replies, r)
	}
	return replies
}

func statusReplies() (replies []Reply) {
	for _, payload := range []string{
		`{"provider":"x"}`,
		`{"state":1}`,
		`null`,
		`{"ſtate":"ready"}`,
		`{"State":"ready"}`,
		`{"status":{"STATE":"ready"}}`,
		`{"Status":{"state":"ready"}}`,
		`{"state":"stopped","state":"ready"}`,
		`{"state":"ready","\u0073tate":"ready"}`,
		`{"status":{"state":"stopped","state":"ready"}}`,
		`{"status":{"state":"stopped"},"status":{"state":"ready"}}`,
		`{"state":"ready","error":"gone","error":null}`,
		"{\"state\":\"\xff\"}",
		`{"state":"\ud800"}`,
		`{"state":"` + strings.Repeat("a", large) + `"}`,
		`{"state":""}`,
		`{}`,
		`[]`,
		`"ready"`,
		`7`,
		`{"status":"ready"}`,
		`{"status":[{"state":"ready"}]}`,
		`{"status":{"status":{"state":"ready"}}}`,
	} {
		replies = append(replies, reply(Status, payload, 502, malformed, ""))
	}
	for _, c := range [][2]string{
		{`{"state":"hibernating","provider":"x"}`, `{"state":"hibernating","provider":"x"}`},
		{`{"status":{"state":"ready"}}`, `{"state":"ready","provider":"events"}`},
		{`{"state":"ready","State":"stopped"}`, `{"state":"ready","provider":"events"}`},
		{`{"state":"ready","status":"ok"}`, `{"state":"ready","provider":"events"}`},
		{`{"state":"ready","provider":7}`, `{"state":"ready","provider":"events"}`},
		{`{"state":"ready","provider":"x","details":"text"}`, `{"state":"ready","provider":"x"}`},
		{`{"state":"ready","provider":"x","details":[]}`, `{"state":"ready","provider":"x"}`},
		{`{"status":{"state":"ready","provider":[],"details":1}}`, `{"state":"ready","provider":"events"}`},
		{`{"state":"ready","provider":"x","details":{"State":1,"a":null}}`, `{"state":"ready","provider":"x","details":{"State":1,"a":null}}`},
		{`{"state":"","status":{"state":"ready"}}`, `{"state":"ready","provider":"events"}`},
		{`{"state":"ready","status":{"state":"stopped"}}`, `{"state":"ready","provider":"events"}`},
		{`{"state":"ready","provider":""}`, `{"state":"ready","provider":"events"}`},
		{`{"state":"ready","provider":"x","provider":"y"}`, `{"state":"ready","provider":"events"}`},
		{`{"state":"ready","error":null}`, `{"state":"ready","provider":"events"}`},
		{`{"state":"\u0072eady"}`, `{"state":"ready","provider":"events"}`},
		{`{"state":" ready "}`, `{"state":" ready ","provider":"events"}`},
	} {
		r := reply(Status, c[0], 200, "", "")
		r.Shown = c[1]
		replies = append(replies, r)
	}
	for _, character := range []string{"a", "ä", "😀"} {
		state := `{"state":"` + strings.Repeat(character, maxState)
		longest := reply(Status, state+`"}`, 200, "", "")
		longest.Shown, longest.Name = state+`","provider":"events"}`, "status: 256 times "+character
		longer := reply(Status, state+character+`"}`, 502, malformed, "")
		longer.Name = "status: 257 times " + character
		replies = append(replies, longest, longer)
	}
	return append(replies, foreignReplies(func(object string, passed bool) Reply {
		status := `{"state":"ready","provider":"x","details":` + object + `}`
		r := reply(Status, status, 502, malformed, "")
		if passed {
			r.Status, r.Type, r.Shown = 200, "", status
		}
		return r
	})...)
}

func startReplies() (replies []Reply) {
	for _, payload := range []string{
		`{"state":"starting"}`,
		`{"status":{"state":"starting"}}`,
		`{"accepted":null,"state":null,"status":{"state":"starting"}}`,
		`{"accepted":"yes","state":"starting"}`,
		`{"accepted":true}`,
		`{"accepted":true,"x":{"y":[1,null]}}`,
		`{"accepted":true,"status":"starting"}`,
		`{"accepted":true,"status":[1]}`,
		`{"accepted":true,"state":7}`,
		`{"accepted":true,"message":{}}`,
		`{"accepted":true,"Accepted":false}`,
		`{"accepted":true,"Error":"no"}`,
		`{"state":"ready","status":"ok"}`,
		`{"state":"ready","provider":7,"details":"text"}`,
		`{"accepted":true,"error":""}`,
		`{"accepted":true,"error":{}}`,
		`{"accepted":true,"error":false}`,
		`{"accepted":true,"error":{"type":"","message":null}}`,
	} {
		replies = append(replies, reply(Start, payload, 202, "", ""))
	}
	for _, c := range [][2]string{
		{`{"accepted":false,"message":"not today"}`, malformed},
		{`{"accepted":false,"Accepted":true}`, malformed},
		{`{"accepted":false,"status":"stopped"}`, malformed},
		{`{"accepted":false,"message":7}`, malformed},
		{`{"accepted":true,"error":"no"}`, "integration_error"},
		{`{"accepted":true,"error":true}`, "integration_error"},
		{`{"accepted":true,"error":[]}`, "integration_error"},
		{`{"accepted":true,"error":{"message":"no"}}`, "integration_error"},
		{`{"accepted":true,"error":{"type":"no_capacity"}}`, "no_capacity"},
		{`{"accepted":true,"error":{"code":404,"message":"no"}}`, "404"},
		{`{"accepted":true,"error":{"type":{},"code":"gone"}}`, "gone"},
		{`{"accepted":true,"error":{"type":"` + strings.Repeat("x", 65) + `"}}`, strings.Repeat("x", 64)},
	} {
		replies = append(replies, reply(Start, c[0], 502, c[1], "rejected"))
	}
	for _, payload := range []string{
		`{"accepted":"true"}`,
		`{"accepted":1}`,
		`{"accepted":null}`,
		`{}`,
		`null`,
		`[]`,
		`"accepted"`,
		`{"state":""}`,
		`{"state":7}`,
		`{"accepted":false,"accepted":true}`,
		`{"accepted":true,"accepted":false}`,
		`{"accepted":true,"accepted":true}`,
		`{"accepted":true,"\u0061ccepted":false}`,
		`{"ACCEPTED":true}`,
		`{"Accepted":true}`,
		`{"State":"ready"}`,
		`{"ſtate":"ready"}`,
		`{"state":"ready","state":"ready"}`,
		`{"status":{"state":"failed","state":"ready"}}`,
		`{"status":{"state":"failed"},"status":{"state":"ready"}}`,
		`{"Status":{"state":"ready"}}`,
		`{"accepted":true,"error":"no","error":null}`,
		`{"x":1,"error":{"type":""}}`,
		`{"accepted":{"accepted":true}}`,
		`[{"accepted":true}]`,
		`true`,
		`{"state":"` + strings.Repeat("a", maxState+1) + `"}`,
	} {
		replies = append(replies, reply(Start, payload, 502, malformed, "unknown"))
	}
	return replies
}

func billingReplies() (replies []Reply) {
	for _, c := range [][2]string{
		{`{"allowed":false,"reason":"billing_required","command":"bus billing setup"}`, "billing_required"},
		{`{"allowed":false,"reason":"quota_exceeded","usage":{"hours":10}}`, "quota_exceeded"},
		{`{"allowed":false}`, "billing_required"},
		{`{"allowed":false,"Allowed":true}`, "billing_required"},
		{`{"allowed":false,"reason":7}`, "billing_required"},
		{`{"allowed":false,"reason":"quota_exceeded","message":[],"command":7,"usage":"much"}`, "quota_exceeded"},
	} {
		replies = append(replies, reply(Billing, c[0], 402, c[1], "not_sent"))
	}
	for _, payload := range []string{
		`{"allowed":true,"plan_id":7}`,
		`{"allowed":true,"reason":[],"message":{},"action":1,"command":false,"recommended_plan":[1],"usage":"none"}`,
		`{"allowed":true,"Error":"no"}`,
	} {
		replies = append(replies, reply(Billing, payload, 202, "", ""))
	}
	for _, c := range [][2]string{
		{`{}`, malformed},
		{`{"allowed":"true"}`, malformed},
		{`{"allowed":1}`, malformed},
		{`{"allowed":null,"reason":"billing_active"}`, malformed},
		{`null`, malformed},
		{`[true]`, malformed},
		{`{"status":{"allowed":true}}`, malformed},
		{`{"ALLOWED":true}`, malformed},
		{`{"Allowed":true}`, malformed},
		{`{"allowed":true,"allowed":false}`, malformed},
		{`{"allowed":false,"allowed":true}`, malformed},
		{`{"allowed":true,"allowed":true}`, malformed},
		{`{"allowed":false,"\u0061llowed":true}`, malformed},
		{`{"allowed":true,"error":"no","error":null}`, malformed},
		{`{"allowed":true,"error":{"type":"storage_error","message":"guessed"}}`, "storage_error"},
	} {
		replies = append(replies, reply(Billing, c[0], 502, c[1], "not_sent"))
	}
	return append(replies, foreignReplies(func(object string, passed bool) Reply {
		r := reply(Billing, `{"allowed":false,"reason":"quota_exceeded","usage":`+object+`}`, 502, malformed, "not_sent")
		if passed {
			r.Status, r.Type, r.Shown = 402, "quota_exceeded", object
		}
		return r
	})...)
}
