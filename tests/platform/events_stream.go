package platform

import (
	"bufio"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	deliverBroadcast = "broadcast"
	deliverUnicast   = "unicast"
	// defaultGroup is the unicast group of a listener that names none.
	defaultGroup = "default"
	writeBuffer  = 32 << 10
)

// listenQuery is the query of GET {collection}/stream.
type listenQuery struct {
	name, group    string // group is empty for broadcast
	replay, follow bool
}

func parseListenQuery(values url.Values) (q listenQuery, _ *refusal) {
	bad := func(why string) (listenQuery, *refusal) {
		return q, &refusal{http.StatusBadRequest, typeBadRequest, why}
	}
	if len(values["name"]) > 1 {
		return bad("One event name a stream.")
	}
	q.name = values.Get("name")
	if why := checkName(q.name); why != "" {
		return bad(why)
	}
	switch values.Get("delivery") {
	case "", deliverBroadcast:
	case deliverUnicast:
		q.group = values.Get("group")
		if q.group == "" {
			q.group = defaultGroup
		}
		if consumer := values.Get("consumer"); !groupName.MatchString(q.group) ||
			(consumer != "" && !groupName.MatchString(consumer)) {
			return bad("group and consumer are letters, digits, '.', '_' and '-'.")
		}
	default:
		return bad("delivery is broadcast or unicast.")
	}
	flag := func(name string, otherwise bool) (bool, bool) {
		if !values.Has(name) {
			return otherwise, true
		}
		v, err := strconv.ParseBool(values.Get(name))
		return v, err == nil
	}
	var okReplay, okFollow bool
	q.replay, okReplay = flag("replay", false)
	q.follow, okFollow = flag("follow", true)
	if !okReplay || !okFollow {
		return bad("replay and follow are true or false.")
	}
	return q, nil
}

// stream answers GET {collection}/stream.
func (r *run) stream(w http.ResponseWriter, req *http.Request) {
	query, bad := parseListenQuery(req.URL.Query())
	f, goOn := r.disturb(w, query.name, listening, func(f *Faults) int { return f.ListenStatus })
	if !goOn {
		return
	}
	account, scopes, refused := r.authenticate(req)
	if refused == nil {
		refused = bad
	}
	if refused == nil {
		refused = authorize(query.name, "events:listen", scopes)
	}
	if refused != nil {
		r.cfg.Logger.Info("listen refused", "name", query.name, "status", refused.status, "why", refused.why)
		refused.write(w)
		return
	}
	r.pause(f.Delay)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	if noise := r.noiseIf(&f); noise != "" {
		_, _ = w.Write([]byte(noise))
		return
	}

	s := newStream(groupKey{account, query.name, query.group}, connOf(req))
	r.broker.subscribe(s, query.replay, query.follow)
	defer r.changed.notify()
	defer r.broker.unsubscribe(s)
	// Asked after subscribing: SetFaults marks the streams that were there.
	if f, _ := r.faults.of(query.name, listening); f.HalfOpen {
		s.dead.Store(true)
	}
	// The headers leave after the place in line is taken: a client that has
	// them misses nothing.
	sender := &sender{run: r, stream: s, out: bufio.NewWriterSize(w, writeBuffer), control: http.NewResponseController(w)}
	sender.mangler.dice = newDice(r.cfg.Seed, query.name, r.streamSeq.Add(1))
	if sender.flush() != nil {
		return
	}
	if !query.follow {
		if sender.send(s.take()) {
			sender.release()
		}
		return
	}
	r.changed.notify()
	r.cfg.Logger.Info("stream opened", "name", query.name, "group", query.group, "replay", query.replay)
	sender.follow(req.Context())
	r.cfg.Logger.Info("stream closed", "name", query.name, "group", query.group)
}

// sender writes one stream's events.
type sender struct {
	run     *run
	stream  *stream
	out     *bufio.Writer
	control *http.ResponseController
	mangler mangler
	scratch []byte
}

// follow sends until the client leaves, the server goes down, or a fault cuts
// the connection.
func (s *sender) follow(ctx context.Context) {
	pause := time.NewTimer(reorderPause)
	defer pause.Stop()
	for {
		select {
		case <-s.stream.wake:
			if !s.send(s.stream.take()) {
				return
			}
			pause.Reset(reorderPause)
		case <-pause.C:
			if !s.release() {
				return
			}
		case <-ctx.Done():
			return
		case <-s.run.ctx.Done():
			return
		}
	}
}

// send writes batch; false means that the stream is over.
func (s *sender) send(batch []delivery) bool {
	for _, d := range batch {
		f, ok := s.admit(d)
		if !ok {
			continue
		}
		for _, ev := range s.mangler.order(d.ev, &f) {
			if !s.write(ev, &f) {
				return false
			}
		}
	}
	return s.flush() == nil
}

// release writes what Reorder holds; false means that the stream is over.
func (s *sender) release() bool {
	f, _ := s.run.faults.of(s.stream.key.name, listening)
	for _, ev := range s.mangler.release() {
		if !s.write(ev, &f) {
			return false
		}
	}
	return s.flush() == nil
}

// admit waits until d may be sent and says whether it may at all.
func (s *sender) admit(d delivery) (Faults, bool) {
	f, changed := s.run.faults.of(s.stream.key.name, listening)
	for f.Stall {
		select {
		case <-changed:
		case <-s.run.ctx.Done():
			return f, false
		}
		f, changed = s.run.faults.of(s.stream.key.name, listening)
	}
	if s.stream.dead.Load() {
		return f, false
	}
	if wait := f.Delay - time.Since(d.at); f.Delay > 0 && wait > 0 {
		_ = s.flush() // what came before is not late; an error shows again at the next flush
		s.run.pause(wait)
	}
	return f, true
}

// write buffers ev in the form f gives it; false means that the connection is
// gone.
func (s *sender) write(ev *event, f *Faults) bool {
	var cut bool
	s.scratch, cut = s.mangler.lines(s.scratch[:0], ev, f)
	_, err := s.out.Write(s.scratch)
	if cut {
		_ = s.flush()
		_ = s.stream.conn.Close() // no reset: the half line is to arrive
	}
	return err == nil && !cut
}

func (s *sender) flush() error {
	if err := s.out.Flush(); err != nil {
		return err
	}
	return s.control.Flush()
}

// Listeners counts the open streams of name.
func (e *Events) Listeners(name string) int { return len(e.broker.open(name)) }

// WaitListeners waits until at least n streams of name are open.
func (e *Events) WaitListeners(ctx context.Context, name string, n int) error {
	return e.changed.wait(ctx, func() bool { return e.Listeners(name) >= n })
}

// WaitGone waits until no stream of name is open.
func (e *Events) WaitGone(ctx context.Context, name string) error {
	return e.changed.wait(ctx, func() bool { return e.Listeners(name) == 0 })
}
