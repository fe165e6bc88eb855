package store

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
)

// simulate runs lives lives from a seed and returns what was broken.
func simulate(t *testing.T, seed uint64, lives int, broken rule) (wrong []string) {
	w := &world{
		t: t, chance: rand.New(rand.NewPCG(seed, 1)), broken: broken,
		published: map[string]int{}, said: map[string][]bool{}, lost: map[string]bool{}, gaveUp: map[string]bool{},
	}
	start := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	var err error
	w.store, err = Open(context.Background(), Config{
		Records: DeliverRecords, Timeout: simTimeout, LateReply: simLateReply, Keep: 30 * 24 * time.Hour,
		Logger: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet(), Now: func() time.Time { return start.Add(w.now) },
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, w.store.release()) }()
	w.store.next = broken.next
	for range 3 {
		w.replicas = append(w.replicas, &replica{alive: true})
	}
	accounts := []string{"a", "b", "c", "d"}
	for range lives {
		w.after(w.upTo(time.Duration(lives)*700*time.Millisecond), func() {
			r := w.replicas[w.chance.IntN(len(w.replicas))]
			write := lifecycle.Write{Operation: lifecycle.Operation{ID: w.id(), Action: lifecycle.Start, Account: accounts[w.chance.IntN(len(accounts))], RequestID: "r"}}
			if w.likely(20) {
				write.Action = lifecycle.Stop
			}
			if w.likely(40) {
				write.Key = fmt.Sprint("key-", w.chance.IntN(1000))
			}
			write.Join = w.likely(50)
			w.on(r, 0, func() { w.call(r, write, 2) })
		})
		if w.likely(8) {
			w.after(w.upTo(time.Duration(lives)*700*time.Millisecond), func() {
				r := w.replicas[w.chance.IntN(len(w.replicas))]
				switch w.chance.IntN(3) {
				case 0: // kill -9, and a start some time later
					r.alive = false
					w.after(w.upTo(20*time.Second), func() { r.alive = true; r.life++; w.tend(r) })
				case 1:
					r.suspended = w.now + w.upTo(time.Minute)
				case 2:
					w.away = true
					w.after(w.upTo(8*time.Second), func() { w.away = false })
				}
			})
		}
	}
	end := time.Duration(lives)*700*time.Millisecond + 10*time.Minute
	for at := time.Second; at < end; at += 5 * time.Second {
		w.after(at, func() { w.tend(w.replicas[w.chance.IntN(len(w.replicas))]) })
	}
	w.after(end-time.Minute, func() {
		w.away = false
		for _, r := range w.replicas {
			r.alive, r.suspended = true, 0
			w.tend(r)
		}
	})
	w.run()
	return w.check()
}

// next is the table with a rule broken.
func (broken rule) next(s state, e event) (state, effect) {
	to, do := next(s, e)
	switch {
	case broken == takeNoID && do&takeID != 0:
		return s, 0
	case broken == endsReplaceEnds && s == unknown && e == abandoned:
		return notSent, 0
	case broken == tellNoJoiner:
		do &^= fan
	case broken == keepKeys:
		do &^= freeKeys
	}
	return to, do
}

// check holds every operation to the promises.
func (w *world) check() []string {
	wrong := w.wrong
	report := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for id, n := range w.published {
		if n > 1 {
			report("%s was published %d times", id, n)
		}
	}
	list, err := w.store.list(context.Background(), `order by seq`)
	require.NoError(w.t, err)
	rows := map[string]Operation{}
	for _, op := range list {
		rows[op.ID] = op
	}
	for id := range w.published {
		if rows[id].ID == "" || rows[id].Action == "" {
			report("%s was published and is not in the store", id)
		}
	}
	for _, op := range list {
		var types []string
		for _, r := range op.receipt().Usage {
			types = append(types, r.EventType[strings.LastIndexByte(r.EventType, '_')+1:])
		}
		said := w.said[op.ID]
		leader := op
		if op.Leader != "" {
			leader = rows[op.Leader]
			said = w.said[op.Leader]
		}
		want := []string{"requested", "failed"}
		if op.Outcome == lifecycle.Accepted && !op.Corrected {
			want = []string{"requested", "finished"}
		} else if op.Corrected && op.Outcome == lifecycle.Accepted {
			want = append(want, "finished")
		} else if op.Corrected {
			want = append(want, "failed")
		}
		switch {
		case op.Action == "":
			if len(types) > 0 {
				report("%s has no life and the records %q", op.ID, types)
			}
		case op.Outcome == "":
			report("%s has no end", op.ID)
		case !slices.Equal(types, want):
			report("%s ended as %s with the records %q", op.ID, op.Outcome, types)
		case w.gaveUp[op.ID] && op.Outcome != lifecycle.NotSent:
			report("%s is %s, and its process had said that it was never sent", op.ID, op.Outcome)
		case op.Outcome == lifecycle.NotSent && w.published[op.ID] > 0:
			report("%s is not_sent and was published", op.ID)
		case op.Leader != "" && op.Outcome != lifecycle.NotSent && op.Outcome != leader.Outcome:
			report("%s is %s and its leader is %s", op.ID, op.Outcome, leader.Outcome)
		case op.Outcome == lifecycle.Accepted && !slices.Contains(said, true):
			report("%s is accepted, and the worker said %v", op.ID, said)
		case op.Outcome == lifecycle.Rejected && !slices.Contains(said, false):
			report("%s is rejected, and the worker said %v", op.ID, said)
		case op.Outcome == lifecycle.Unknown && len(said) > 0 && !w.lost[leader.ID]:
			report("%s is unknown, and the worker said %v", op.ID, said)
		}
	}
	// A key stands for something that may have been published.
	keyed, err := read(context.Background(), w.store, value[string], `select operation from keys`)
	require.NoError(w.t, err)
	stale := slices.DeleteFunc(keyed, func(id string) bool { return rows[id].ID != "" && rows[id].Outcome != lifecycle.NotSent })
	if len(stale) > 0 {
		report("keys stand for %d operations that were not sent", len(stale))
	}
	return wrong
}

// Ten thousand lives.
func TestSimulation(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			for _, wrong := range simulate(t, seed, 200, unbroken) {
				t.Error(wrong)
			}
		})
	}
}

// A rule that is broken on purpose breaks a promise.
func TestSimulationSeesBrokenRules(t *testing.T) {
	t.Parallel()
	for broken, name := range map[rule]string{
		publishAnyTime:     "publish without a look at the clocks",
		publishUnconfirmed: "publish although the commit was not confirmed",
		publishAgain:       "publish again",
		expireBlindly:      "expire without the history",
		takeNoID:           "do not take the id of an insert under way",
		endsReplaceEnds:    "replace an unknown end by not_sent",
		tellNoJoiner:       "do not tell who joined",
		keepKeys:           "keep the keys of what was not sent",
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(20) {
				if wrong := simulate(t, seed, 200, broken); len(wrong) > 0 {
					t.Log(wrong[0])
					return
				}
			}
			t.Error("not seen")
		})
	}
}
