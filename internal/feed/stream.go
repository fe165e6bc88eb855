package feed

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
)

const (
	heartbeat          = 15 * time.Second                 // how often a comment is sent
	WriteTimeout       = 15 * time.Second                 // bounds sending what a Read returns
	behind             = 256 << 10                        // bytes that a reader may leave unread before it is cut off
	retryMin, retryMax = 2 * time.Second, 5 * time.Second // when a reader that lost its stream comes back
)

var (
	errBehind = errors.New("the reader of an event stream is too far behind")
	errGone   = errors.New("the reader of an event stream has gone")
)

// Reader says what a stream is for.
type Reader struct {
	Account string    // has the operations that are sent
	All     bool      // those of every account are
	Expires time.Time // when the stream ends by itself; zero for never
	// Gone is asked at each heartbeat whether the reader has gone, or may read no more;
	// nil where writing to it says so.
	Gone func() bool
}

// Stream is what one reader is sent. It is for one goroutine.
type Stream struct {
	Reader
	feed  *Feed
	ctx   context.Context
	beat  time.Time // of the next comment
	rest  []byte    // is sent first
	first []*event  // is sent then
	ended bool      // nothing follows rest

	since   time.Time // when a write was accepted last before it began, or a status was asked for that is too old
	began   []byte    // the tag of a status that it began with, of before since
	release func()    // of Runtime.Follow

	// Of feed.mu.
	pending []*event
	unread  int  // their bytes
	cut     bool // for being behind
	wanting bool // for a status of after since, another than it began with

	wake chan struct{} // one slot: there is something pending
}

func (s *Stream) wants(e *event) bool { return e.ID == "" || s.All || e.Account == s.Account }

// tell pushes the status that was seen, unless a write was accepted between that and the
// begin of the stream: then it wants the next one, if that is another than it began with.
// The caller holds feed.mu.
func (s *Stream) tell(e *event, seen *snapshot.Seen) {
	wanting := s.wanting
	s.wanting = !seen.AskedAt.After(s.since)
	if !s.wanting && !(wanting && bytes.Equal(seen.ETag, s.began)) {
		s.push(e)
	}
}

// push holds feed.mu.
func (s *Stream) push(e *event) {
	if s.cut {
		return
	}
	s.pending = append(s.pending, e)
	if s.unread += len(e.text); s.unread > behind {
		s.pending, s.cut = nil, true
		s.feed.cutOff.Inc()
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Read is that of io.Reader. It waits until there is something to be sent, which is
// at the next heartbeat at the latest. It ends with io.EOF after an event that says
// why, and with another error where the reader is to be cut off.
func (s *Stream) Read(p []byte) (n int, err error) {
	for len(s.rest) == 0 {
		if s.ended {
			return 0, io.EOF
		}
		if s.rest, err = s.next(); err != nil {
			return 0, err
		}
	}
	n = copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// next waits for what is sent next; nil when there may be nothing.
func (s *Stream) next() ([]byte, error) {
	now := time.Now()
	until := s.beat.Sub(now)
	if !s.Expires.IsZero() {
		left := s.Expires.Sub(now) // by the wall clock
		if left <= 0 {
			return s.end("expired"), nil
		}
		until = min(until, left)
	}
	select {
	case <-s.feed.config.Over:
		return s.end("draining"), nil
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	default:
	}
	if !now.Before(s.beat) {
		s.beat = now.Add(heartbeat)
		if s.Gone != nil && s.Gone() {
			return nil, errGone
		}
		return []byte(":\n\n"), nil
	}
	if len(s.first) > 0 {
		e := s.first[0]
		s.first = s.first[1:]
		return e.text, nil
	}
	if text, err := s.take(); text != nil || err != nil {
		return text, err
	}
	select {
	case <-s.wake:
	case <-time.After(until):
	case <-s.feed.config.Over:
	case <-s.ctx.Done():
	}
	return nil, nil
}

func (s *Stream) take() ([]byte, error) {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	switch {
	case s.cut:
		return nil, errBehind
	case len(s.pending) == 0:
		return nil, nil
	}
	e := s.pending[0]
	if s.pending = s.pending[1:]; len(s.pending) == 0 {
		s.pending = nil
	}
	s.unread -= len(e.text)
	return e.text, nil
}

func (s *Stream) end(reason string) []byte {
	s.ended = true
	return []byte("event: end\ndata: {\"reason\":\"" + reason + "\"}\n\n")
}

// Close ends the stream. It may be called more than once.
func (s *Stream) Close() error {
	f := s.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, open := f.streams[s]; !open {
		return nil
	}
	delete(f.streams, s)
	s.release()
	return nil
}
