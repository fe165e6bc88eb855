package lifecycle

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/internal/events"
)

func TestEstimate(t *testing.T) {
	var times []time.Duration
	for n, want := range []Estimate{{}, {}, {}, {2, 3, 3}, {3, 4, 4}} {
		assert.Equal(t, want, NewEstimate(times), n)
		times = append([]time.Duration{time.Duration(n + 1)}, times...)
	}
	for len(times) < MaxTimes {
		times = append(times, time.Duration(len(times)+1))
	}
	assert.Equal(t, Estimate{11, 19, 20}, NewEstimate(times))
	assert.Equal(t, time.Duration(5), times[0], "they stay in their order")
}

func TestSupersedes(t *testing.T) {
	at := time.Unix(1, 0)
	own := Receipt{Action: Start, Sequence: 2, Outcome: Accepted, AcceptedAt: at}
	for name, other := range map[string]Receipt{
		"":                       {Action: Stop, Sequence: 3, Outcome: Accepted, AcceptedAt: at.Add(1)},
		"in the same moment":     {Action: Stop, Sequence: 3, Outcome: Accepted, AcceptedAt: at},
		"not: alike":             {Action: Start, Sequence: 3, Outcome: Accepted, AcceptedAt: at.Add(1)},
		"not: requested earlier": {Action: Stop, Sequence: 1, Outcome: Accepted, AcceptedAt: at.Add(1)},
		"not: accepted earlier":  {Action: Stop, Sequence: 3, Outcome: Accepted, AcceptedAt: at.Add(-1)},
		"not: rejected":          {Action: Stop, Sequence: 3, Outcome: Rejected},
	} {
		assert.Equal(t, !strings.HasPrefix(name, "not"), other.Supersedes(own), name)
		assert.False(t, other.Supersedes(Receipt{Action: Start, Sequence: 2}), "one that was not accepted")
	}
}

// On start times of a lognormal law whose level changes once, the estimate is good but
// for the starts after the change.
func TestEstimateOfALaw(t *testing.T) {
	const starts, sigma = 2000, .25
	dice := rand.New(rand.NewPCG(1, 2))
	var last []time.Duration
	var misses []float64
	covered := 0
	for i := range starts {
		level := map[bool]float64{true: 40, false: 90}[i < starts/2]
		took := time.Duration(level * math.Exp(sigma*dice.NormFloat64()) * float64(time.Second))
		e := NewEstimate(last)
		if e.Samples == MaxTimes && (i < starts/2 || i >= starts/2+MaxTimes) {
			misses = append(misses, math.Abs(e.P50.Seconds()-took.Seconds())/took.Seconds())
			if took <= e.P90 {
				covered++
			}
		}
		last = append(last, took)
		last = last[max(0, len(last)-MaxTimes):]
	}
	slices.Sort(misses)
	assert.Less(t, misses[len(misses)/2], .2)
	assert.InDelta(t, .9, float64(covered)/float64(len(misses)), .05)
}

func TestFailure(t *testing.T) {
	f := func(err error, mayAct bool, kind Kind, word, message string) {
		t.Helper()
		got, ok := Failure(err, "runtime", mayAct).(*Error)
		if !ok || got.Kind != kind || got.Type != word || got.Message != message || !errors.Is(got, err) {
			t.Errorf("Failure(%v) = %+v", err, got)
		}
	}
	const nothing = "The runtime cannot be reached now; nothing was done."
	for _, mayAct := range []bool{false, true} {
		f(&events.RemoteError{Type: "no_quota", Message: "No quota."}, mayAct, Rejection, "no_quota", "No quota.")
		f(fmt.Errorf("%w: x", events.ErrNotSent), mayAct, Unavailable, "", nothing)
		f(&events.RefusedError{Status: 401}, mayAct, Unavailable, "", nothing)
	}
	f(fmt.Errorf("%w: x", events.ErrMalformed), false, Malformed, "", "The runtime answered with something malformed.")
	f(fmt.Errorf("%w: x", events.ErrMalformed), true, Malformed, "", "The runtime answered with something malformed. It may still act on the request.")
	f(fmt.Errorf("%w: x", events.ErrNoReply), false, Unavailable, "", "The runtime did not answer in time; nothing was done.")
	f(fmt.Errorf("%w: x", events.ErrNoReply), true, Unavailable, "", "The runtime did not answer in time. It may still act on the request.")
	if bug := errors.New("BUG"); Failure(bug, "runtime", true) != bug {
		t.Error("a bug is passed off as something else")
	}
}
