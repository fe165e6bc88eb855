package platform

import (
	"bufio"
	"context"
	"net/http"
	"time"
)

const (
	deliverBroadcast = "broadcast"
	deliverUnicast   = "unicast"
	writeBuffer      = 32 << 10
)

// stream answers GET {collection}/stream.
func (r *run) stream(w http.ResponseWriter, req *http.Request) {
	query := req.URL.Query()
	key := groupKey{name: query.Get("name"), group: query.Get("group")}
	replay, follow := query.Get("replay") == "true", query.Get("follow") != "false"
	f, goOn := r.disturb(w, key.name, listening)
	if !goOn {
		return
	}
	account, refused := r.admit(req, key.name, "events:listen")
	if delivery := query.Get("delivery"); refused == nil && (key.group == "") != (delivery == deliverBroadcast) {
		refused = &refusal{http.StatusBadRequest, "delivery is broadcast, or unicast in a group."}
	}
	if refused != nil {
		r.cfg.Logger.Info("listen refused", "name", key.name, "status", refused.status, "why", refused.why)
		refused.write(w)
		return
	}
	key.account = account
	r.pause(f.Delay)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	if noise := r.noiseIf(&f); noise != "" {
		_, _ = w.Write([]byte(noise))
		return
	}

	s := newStream(key, connOf(req))
	r.broker.subscribe(s, replay, follow)
	defer r.changed.notify()
	defer r.broker.unsubscribe(s)
	// Asked after subscribing: SetFaults marks the streams that were there.
	if f, _ := r.faultsOf(key.name, listening); f.HalfOpen {
		s.dead.Store(true)
	}
	// The headers leave after the place in line is taken: a client that has
	// them misses nothing.
	sender := &sender{run: r, stream: s, out: bufio.NewWriterSize(w, writeBuffer), control: http.NewResponseController(w)}
	sender.mangler.dice = newDice(r.cfg.Seed, key.name, r.streamSeq.Add(1))
	if sender.flush() != nil {
		return
	}
	if !follow {
		if sender.send(s.take()) {
			sender.release()
		}
		return
	}
	r.changed.notify()
	r.cfg.Logger.Info("stream opened", "name", key.name, "group", key.group, "replay", replay)
	sender.follow(req.Context())
	r.cfg.Logger.Info("stream closed", "name", key.name, "group", key.group)
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
func (s *sender) send(batch []*event) bool {
	for _, ev := range batch {
		f, ok := s.admit(ev)
		if !ok {
			continue
		}
		for _, ev := range s.mangler.order(ev, &f) {
			if !s.write(ev, &f) {
				return false
			}
		}
	}
	return s.flush() == nil
}

// release writes what Reorder holds; false means that the stream is over.
func (s *sender) release() bool {
	f, _ := s.run.faultsOf(s.stream.key.name, listening)
	for _, ev := range s.mangler.release() {
		if !s.write(ev, &f) {
			return false
		}
	}
	return s.flush() == nil
}

// admit waits until ev may be sent and says whether it may at all.
func (s *sender) admit(ev *event) (Faults, bool) {
	f, up := s.run.unstalled(s.stream.key.name, listening)
	if !up || s.stream.dead.Load() {
		return f, false
	}
	if wait := f.Delay - time.Since(ev.wire.CreatedAt); wait > 0 {
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

// WaitListeners waits until at least n streams of name are open.
func (e *Events) WaitListeners(ctx context.Context, name string, n int) error {
	return e.changed.wait(ctx, func() bool { return len(e.broker.open(name)) >= n })
}

// WaitGone waits until no stream of name is open.
func (e *Events) WaitGone(ctx context.Context, name string) error {
	return e.changed.wait(ctx, func() bool { return len(e.broker.open(name)) == 0 })
}
