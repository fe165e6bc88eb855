package platform

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Faults is what goes wrong at the Events API while it is up. The zero value
// is health. An absent API is Stop, a crash is Kill, and CutStreams ends what
// is open; those are methods of Events.
type Faults struct {
	// Names are the event names that everything below concerns. Empty means
	// the provider's side: publishing what is no `.response` and listening to
	// what is no `.request`, so that the workers stay a sound judge.
	Names []string
	// Rate is the chance that a fault strikes one publish, one opening of a
	// stream or one line; each fault draws for itself. Zero means always.
	// Stall, HalfOpen and Reorder are not drawn: they hold while they are set.
	Rate float64

	// Stall freezes the process: connections are accepted, requests are read,
	// nothing is answered or delivered. When it is lifted the held requests
	// are carried out, even those whose client has given up.
	Stall bool
	// HalfOpen kills every stream that is open or opened meanwhile without
	// closing it: what would be delivered is lost, also after it is lifted.
	HalfOpen bool
	// Delay holds back the answer to a publish, which is processed first, the
	// opening of a stream, and each line, from the publish of its event on.
	Delay time.Duration

	// PublishStatus and ListenStatus refuse before looking at the token, for
	// example with 500, 401 or 403. ListenStatus leaves open streams alone.
	PublishStatus, ListenStatus int
	// AnswerDelay holds back the answer to a publish, which is processed first,
	// and nothing else.
	AnswerDelay time.Duration
	// AnswerStatus answers a publish with this status although it was
	// processed, as a proxy does that lost sight of it.
	AnswerStatus int
	// HeaderBytes adds a header field of so many bytes to the answer to a publish.
	HeaderBytes int
	// GarbageBody replaces the body of an answer by noise; its status stays,
	// and the publish is processed. A stream opens with 200, sends the noise
	// and ends.
	GarbageBody bool
	// GarbageHTTP answers with bytes that are no HTTP, without processing.
	GarbageHTTP bool
	// CutPublish processes a publish, then resets the connection.
	CutPublish bool

	// GarbageLines sends a line of noise before each line.
	GarbageLines bool
	// Truncate ends each line halfway: the event is lost to that stream.
	Truncate bool
	// CutLine sends half a line, then closes the connection in mid-response.
	CutLine bool
	// LongLine pads each line to about so many bytes.
	LongLine int
	// Blank sends empty and white lines before each line.
	Blank bool
	// CRLF ends lines with CR LF.
	CRLF bool
	// Unknown adds members of every kind, among them a nested correlationId
	// that is not the event's.
	Unknown bool
	// SnakeID names the correlation id correlation_id in place of correlationId,
	// or beside it, where BothIDs is set as well.
	SnakeID, BothIDs bool
	// RepeatID names another request's correlation id in each line before the
	// event's own, under the same member name.
	RepeatID bool
	// Duplicate sends each line twice.
	Duplicate bool
	// Reorder holds so many events of a stream and sends a random one of them
	// for each that comes in. A pause of reorderPause releases all.
	Reorder int
	// Foreign sends so many replies to other correlation ids, under the same
	// identity, before each line of a `.response` stream.
	Foreign int
}

// reorderPause is the quiet after which held events are sent all the same, so
// that the last replies of a test are late but not lost.
const reorderPause = 10 * time.Millisecond

// side is what a client does with an event name.
type side int

const (
	publishing side = iota
	listening
)

func (f *Faults) concerns(name string, by side) bool {
	if len(f.Names) > 0 {
		return slices.Contains(f.Names, name)
	}
	if by == publishing {
		return !strings.HasSuffix(name, responseSuffix)
	}
	return !strings.HasSuffix(name, requestSuffix)
}

// faultsInForce are faults, and what tells that others replaced them.
type faultsInForce struct {
	Faults
	changed chan struct{} // closed then
}

// replace puts f in force.
func (e *Events) replace(f Faults) {
	if old := e.faults.Swap(&faultsInForce{Faults: f, changed: make(chan struct{})}); old != nil {
		close(old.changed)
	}
}

// faultsOf returns what is in force for name on one side, and what tells that it
// changed.
func (e *Events) faultsOf(name string, by side) (Faults, <-chan struct{}) {
	now := e.faults.Load()
	if !now.concerns(name, by) {
		return Faults{}, now.changed
	}
	return now.Faults, now.changed
}

// dice draws for the faults of one stream or of all publishes. It is seeded,
// so the same order of events meets the same faults. Not for concurrent use.
type dice struct{ *rand.Rand }

func newDice(seed uint64, label string, ordinal uint64) dice {
	h := fnv.New64a()
	h.Write([]byte(label))
	return dice{rand.New(rand.NewPCG(seed, h.Sum64()+ordinal))}
}

// strikes says whether a fault that is on strikes this time.
func (d dice) strikes(on bool, rate float64) bool {
	return on && (rate == 0 || d.Float64() < rate)
}

// noise is printable text that is neither JSON nor HTTP.
func (d dice) noise() string {
	const letters = "{}[]<>\"\\:,;#%&/abcxyz0123456789\x00\x7f"
	var b strings.Builder
	b.WriteString("}{")
	for range 20 + d.IntN(60) {
		b.WriteByte(letters[d.IntN(len(letters))])
	}
	return b.String()
}
