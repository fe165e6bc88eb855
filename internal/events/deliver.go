package events

import (
	"errors"
	"io"
	"time"
)

// deliverLines reads lines of in and hands their envelopes to deliver until
// one of them fails. Lines that are no envelope of this stream are counted and
// skipped.
func (s *stream) deliverLines(in io.Reader, deliver func(Envelope) error) error {
	lines := newLineReader(in, s.client.config.MaxLine)
	for {
		line, err := lines.next()
		if errors.Is(err, errLineTooLong) {
			s.counts.tooLong.Inc()
			continue
		}
		if len(line) > 0 {
			switch e, ok := decode(line); {
			case !ok:
				s.counts.malformed.Inc()
			case e.Name != "" && e.Name != s.reply:
				s.counts.foreign.Inc()
			default:
				e.Name = s.reply
				if err := deliver(e); err != nil {
					return err
				}
			}
		}
		if err != nil {
			return err
		}
	}
}

// deliver shows a live envelope to the observers, then to whoever waits for it.
func (s *stream) deliver(e Envelope) {
	s.delivery.Lock()
	defer s.delivery.Unlock()
	kind, w, requestedAt := s.take(e)
	s.counts.replies[kind].Inc()
	s.pass(e, kind, w, requestedAt)
}

func (s *stream) take(e Envelope) (matching, *waiter, time.Time) {
	now := time.Now()
	return s.book.take(e, now, now.Add(s.client.config.LateReply))
}

// deliverReplayed does the same for a replayed envelope that answers a request
// of this process. All others are history, of which nobody can say how old it
// is: they reach nobody. It reports whether e was such an answer.
func (s *stream) deliverReplayed(e Envelope) bool {
	s.delivery.Lock()
	defer s.delivery.Unlock()
	kind, w, requestedAt := s.take(e)
	if w == nil {
		s.counts.history.Inc()
		return false
	}
	s.counts.replies[kind].Inc()
	s.pass(e, kind, w, requestedAt)
	return true
}

// pass holds delivery.
func (s *stream) pass(e Envelope, kind matching, w *waiter, requestedAt time.Time) {
	e.RequestedAt = requestedAt
	for _, observe := range s.observers {
		observe(e)
	}
	switch {
	case kind == matched:
		w.reply <- e
	case kind == late && w != nil && w.late != nil:
		// It may have to write to a slow disk: the stream does not wait for it.
		// There are at most as many at a time as requests were given up.
		s.client.late.Go(func() { w.late(e) })
	}
}
