package store

import (
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
)

// A world has three replicas of a gateway with one store, a worker, a history of
// replies, and one clock. Everything happens one after the other, in an order
// that a seed decides.
type world struct {
	t      *testing.T
	chance *rand.Rand
	store  *Store
	broken rule

	now    time.Duration // since start
	agenda agenda
	number int

	replicas []*replica
	away     bool // the store takes nothing and answers nothing

	published map[string]int    // publishes by id
	said      map[string][]bool // replies of the worker by id, in their order
	history   []reply           // of the last replies, as long as the world keeps them
	lost      map[string]bool   // ids of which a reply left the history
	wrong     []string          // what was broken on the way
	gaveUp    map[string]bool   // ids that their process will never publish, as the store took it
}

// rule is a promise of docs/adr/0008-operations.md that a run breaks on purpose.
type rule int

const (
	unbroken           rule = iota
	publishAnyTime          // without a look at the clocks
	publishUnconfirmed      // although the commit was not confirmed
	publishAgain            // after a repeated insert
	expireBlindly           // without reading the history
	takeNoID                // of an operation whose insert has not arrived
	endsReplaceEnds         // not_sent over unknown
	tellNoJoiner            // no fan
	keepKeys                // of what was not sent
)

type reply struct {
	id  string
	yes bool
}

// replica is one process.
type replica struct {
	alive     bool
	suspended time.Duration // until then nothing of it happens
	life      int           // counts restarts
}

// entry is something to happen.
type entry struct {
	at     time.Duration
	number int
	do     func()
}

type agenda []entry

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].number < a[j].number
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(entry)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

func (w *world) after(wait time.Duration, do func()) {
	w.number++
	heap.Push(&w.agenda, entry{w.now + wait, w.number, do})
}

// on lets a step of a replica happen after wait: later while it is suspended,
// never once it is dead.
func (w *world) on(r *replica, wait time.Duration, do func()) {
	life := r.life
	var step func()
	step = func() {
		switch {
		case !r.alive || r.life != life:
		case r.suspended > w.now:
			w.after(r.suspended-w.now, step)
		default:
			do()
		}
	}
	w.after(wait, step)
}

func (w *world) run() {
	for len(w.agenda) > 0 {
		next := heap.Pop(&w.agenda).(entry)
		w.now = max(w.now, next.at)
		next.do()
	}
}

func (w *world) likely(percent int) bool { return w.chance.IntN(100) < percent }
func (w *world) upTo(d time.Duration) time.Duration {
	return time.Duration(w.chance.Int64N(int64(d)))
}

func (w *world) id() string {
	var raw uuid.UUID
	for i := range raw {
		raw[i] = byte(w.chance.IntN(256))
	}
	return raw.String()
}

// commit runs do in one transaction. confirmed may be false although it is
// written, and although it is not: it may then still be written later.
func (w *world) commit(do func(*tx)) (confirmed bool) {
	write := func() {
		_, err := w.store.transact([]*call{{do: func(t *tx) any { do(t); return nil }}})
		require.NoError(w.t, err)
	}
	switch {
	case w.away && w.likely(50):
		w.after(w.upTo(10*time.Second), write) // what a database took before it froze
		return false
	case w.away:
		return false
	case w.likely(3):
		write()
		return false
	}
	write()
	return true
}

// keep writes do as soon as the store takes it, if the replica lives so long.
func (w *world) keep(r *replica, do func(*tx), done func()) {
	if w.commit(do) {
		done()
		return
	}
	w.on(r, time.Second, func() { w.keep(r, do, done) })
}

func (w *world) end(r *replica, id string, e event) {
	var op Operation
	w.keep(r, func(t *tx) { op = t.end(id, e, End{}) }, func() {
		if e == abandoned && (op.ID == "" || op.Outcome == lifecycle.NotSent) {
			w.gaveUp[id] = true
		}
	})
}

const (
	simTimeout   = 10 * time.Second
	simLateReply = 20 * time.Second
)

// call is the way of one request on a replica.
func (w *world) call(r *replica, write lifecycle.Write, tries int) {
	began := w.now
	var got decided
	confirmed := w.commit(func(t *tx) { got = t.insert(write) })
	took := w.upTo(3 * time.Second)
	if w.likely(90) {
		took = w.upTo(10 * time.Millisecond)
	}
	w.on(r, took, func() {
		if (!confirmed || w.now-began > callTimeout) && w.broken != publishUnconfirmed {
			w.end(r, write.ID, abandoned)
			w.retry(write, tries)
			return
		}
		switch got.Decision {
		case lifecycle.Lead:
			w.publish(r, began, got.Operation, tries, write)
		case lifecycle.Joined:
			w.follow(r, got.ID, w.now+simTimeout)
		case lifecycle.Known:
			if w.broken == publishAgain {
				w.publish(r, began, got.Operation, 0, write)
			}
		}
	})
}

// retry is a caller with a key who tries again on any replica.
func (w *world) retry(write lifecycle.Write, tries int) {
	if write.Key == "" || tries == 0 {
		return
	}
	again := write
	again.ID = w.id()
	r := w.replicas[w.chance.IntN(len(w.replicas))]
	w.on(r, w.upTo(5*time.Second), func() { w.call(r, again, tries-1) })
}

// publish sends the request of op if it is in time, by both clocks.
func (w *world) publish(r *replica, began time.Duration, op Operation, tries int, write lifecycle.Write) {
	if op.Outcome != "" {
		return // its id was taken
	}
	w.on(r, w.upTo(8*time.Second)*time.Duration(w.chance.IntN(2)), func() {
		late := w.now-began > permission && w.broken != publishAnyTime
		if late || w.likely(5) { // no connection, or a refusal
			w.end(r, op.ID, abandoned)
			w.retry(write, tries)
			return
		}
		w.published[op.ID]++
		if row, err := w.store.find(context.Background(), op.ID); err != nil || row.Outcome != "" {
			w.wrong = append(w.wrong, fmt.Sprintf("%s was published when it had ended as %s (%v)", op.ID, row.Outcome, err))
		}
		w.work(op.ID)
	})
}

// work is what the worker does with a request, and who hears of it.
func (w *world) work(id string) {
	if w.likely(10) {
		return // never
	}
	wait := w.upTo(2 * time.Second)
	if w.likely(20) {
		wait = w.upTo(90 * time.Second)
	}
	w.after(wait, func() {
		yes := w.likely(70)
		times := 1 + w.chance.IntN(2)
		for range times {
			if len(w.said[id]) == 0 {
				w.history = append(w.history, reply{id, yes})
				if len(w.history) > 50 {
					w.lost[w.history[0].id] = true
					w.history = w.history[1:]
				}
			}
			w.said[id] = append(w.said[id], yes)
			for _, r := range w.replicas {
				if r.alive && w.likely(70) { // any subset
					w.on(r, w.upTo(time.Second), func() { w.hear(r, reply{id, yes}) })
				}
			}
		}
	})
}

func (w *world) hear(r *replica, got reply) {
	e := replyNo
	if got.yes {
		e = replyYes
	}
	w.end(r, got.id, e)
}

// follow waits for the end of a leader, as the caller of one that joined does.
func (w *world) follow(r *replica, id string, until time.Duration) {
	w.on(r, w.upTo(2*time.Second), func() {
		if w.now > until {
			w.end(r, id, abandoned)
			return
		}
		var got decided
		confirmed := w.commit(func(t *tx) { got = t.decide(id) })
		switch {
		case !confirmed:
			// What was decided is not known: it leads and is never published, or waits.
			w.end(r, id, abandoned)
		case got.Decision == lifecycle.Lead && got.Outcome == "":
			w.publish(r, w.now, got.Operation, 0, lifecycle.Write{})
		case got.Outcome == "":
			w.follow(r, id, until)
		}
	})
}

// tend reads the history and closes what is past its time.
func (w *world) tend(r *replica) {
	if w.away || !r.alive || r.suspended > w.now {
		return
	}
	if w.broken != expireBlindly {
		for _, got := range w.history {
			w.hear(r, got)
		}
	}
	w.commit(func(t *tx) {
		for _, op := range t.all(`where outcome = '' and closes_at <= $1`, t.now) {
			t.end(op.ID, expired, End{})
		}
	})
}
