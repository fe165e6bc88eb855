package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
)

// call is one thing to be written. Many share a transaction.
type call struct {
	order string // of its locks, see housekeeping
	// do may run several times; the caller gets what the last time returned.
	do func(*tx) any
	// delayed calls wait for others to share their transaction with.
	delayed bool
	// kept calls are repeated until the store takes them, whether a caller
	// waits or not.
	kept bool

	left  bool      // its caller waits no longer
	rests time.Time // it is not tried again before
	done  chan result
}

// result is what a call has returned.
type result struct {
	value any
	err   error
}

// The orders of the calls of a transaction, most of them with what they lock behind: so
// replicas lock rows in one order, operations that are there, keys, and the start slot.
const (
	housekeeping    = "0"     // of no operation
	atOperation     = "0"     // its end, which may lock the rows of all that joined it
	afterOperations = "0\xff" // its delivery; closing, which knows the replies of its transaction
	atKey           = "1"
	atSlot          = "2"
	atClaims        = "3"
)

const (
	// maxBatch bounds the calls of one transaction, which has callTimeout.
	maxBatch = 512
	// maxKept bounds the calls that wait for the store to take writes again.
	maxKept = 100_000
	// While crowd operations or more are under way, a transaction waits until half of
	// them have something to write, for gatherFor at most: they would follow one by
	// one otherwise, and a commit costs the same for one as for all.
	crowd     = 32
	gatherFor = 8 * time.Millisecond
	// commitDelay is how long a delayed call waits for others to share its commit.
	commitDelay = 100 * time.Millisecond
	// probeEvery is how often a store that failed is tried again, with so many bytes.
	probeEvery = time.Second
	probeBytes = 64 << 10
)

// ErrUnavailable: the store did not take a write, which is not there unless the
// error is an ErrUnconfirmed as well.
var ErrUnavailable = errors.New("the operations store is not available")

// submit has c written by do and waits for what that returns, for callTimeout at
// most.
func submit[T any](ctx context.Context, s *Store, c call, do func(*tx) T) (value T, _ error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c.done = make(chan result, 1)
	c.do = func(t *tx) any { return do(t) }
	if err := s.enqueue(&c); err != nil {
		return value, err
	}
	r := s.await(ctx, &c)
	value, _ = r.value.(T)
	return value, r.err
}

// do is submit for what returns nothing.
func (s *Store) do(ctx context.Context, c call, do func(*tx)) error {
	_, err := submit(ctx, s, c, func(t *tx) any { do(t); return nil })
	return err
}

func (s *Store) await(ctx context.Context, c *call) result {
	select {
	case r := <-c.done:
		return r
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case r := <-c.done:
		return r
	default:
	}
	c.left = true
	if at := slices.Index(s.queue, c); at >= 0 && !c.kept { // it is not in the transaction under way
		s.queue = slices.Delete(s.queue, at, at+1)
		return result{err: fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))}
	}
	return result{err: fmt.Errorf("%w: %w: %w", ErrUnavailable, lifecycle.ErrUnconfirmed, context.Cause(ctx))}
}

// keep queues c without waiting for it. A reply beyond maxKept is in the history,
// which is read again when the store takes writes.
func (s *Store) keep(c call, do func(*tx)) {
	c.done = make(chan result, 1)
	c.kept = true
	c.do = func(t *tx) any { do(t); return nil }
	s.mu.Lock()
	full := len(s.queue) >= maxKept
	s.mu.Unlock()
	if !full {
		_ = s.enqueue(&c) // a closed store writes nothing any more
	}
}

// enqueue queues c, unless the store takes no writes: what is kept is queued
// then as well.
func (s *Store) enqueue(c *call) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return fmt.Errorf("%w: it is closed", ErrUnavailable)
	case s.cause != nil && !c.kept:
		return fmt.Errorf("%w: %w", ErrUnavailable, s.cause)
	}
	s.queue = append(s.queue, c)
	wake(s.wakeWriter)
	return nil
}

// write runs the transactions until ctx ends and everything queued is written or
// refused; what the store does not take within callTimeout then is given up.
func (s *Store) write(ctx context.Context) {
	for ctx.Err() == nil {
		batch, wait := s.take(false)
		if len(batch) > 0 {
			s.run(batch)
			continue
		}
		select {
		case <-s.wakeWriter:
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	for last := time.Now().Add(callTimeout); time.Now().Before(last); {
		batch, _ := s.take(true)
		if len(batch) == 0 {
			break
		}
		s.run(batch)
		if s.Healthy() != nil {
			time.Sleep(commitDelay)
		}
	}
	s.giveUp()
}

// giveUp refuses what is still queued. A reply among it is in the history.
func (s *Store) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	n := 0
	for _, c := range s.queue {
		s.answer(c, result{err: fmt.Errorf("%w: it is closed", ErrUnavailable)})
		if c.order != housekeeping {
			n++
		}
	}
	if n > 0 {
		s.config.Logger.Warn("the operations store did not take all before the end; the next start reads replies from the history again", "writes", n)
	}
	s.queue = nil
}

// take returns the calls of the next transaction in the order of their locks, or
// how long there is nothing to do.
func (s *Store) take(hurry bool) (batch []*call, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if wait := time.Until(s.probeAt); s.cause != nil && wait > 0 && !hurry {
		return nil, wait
	}
	if s.cause != nil && !hurry { // what is queued may find locks of others
		s.queue = slices.Insert(s.queue, 0, &call{do: (*tx).probe, left: true, done: make(chan result, 1)})
	}
	if len(s.queue) == 0 {
		s.closed = s.closed || hurry
		return nil, time.Hour
	}
	urgent := 0
	for _, c := range s.queue {
		if !c.delayed {
			urgent++
		}
	}
	if urgent == 0 && len(s.queue) < maxBatch && !hurry {
		if s.delayedSince.IsZero() {
			s.delayedSince = time.Now()
		}
		if wait := time.Until(s.delayedSince.Add(commitDelay)); wait > 0 {
			return nil, wait
		}
	}
	if n := int(s.underWay.Load()); n >= crowd && 2*urgent < n && s.cause == nil && !hurry {
		if s.gathering.IsZero() {
			s.gathering = time.Now()
		}
		if wait := time.Until(s.gathering.Add(gatherFor)); wait > 0 {
			return nil, wait
		}
	}
	s.gathering = time.Time{}
	// What found a lock of others rests, so that it holds up no other.
	now := time.Now()
	s.queue = slices.DeleteFunc(s.queue, func(c *call) bool {
		if len(batch) == s.batch || !hurry && now.Before(c.rests) {
			return false
		}
		batch = append(batch, c)
		return true
	})
	if len(batch) == 0 {
		return nil, commitDelay
	}
	s.delayedSince = time.Time{}
	slices.SortStableFunc(batch, func(a, b *call) int { return strings.Compare(a.order, b.order) })
	return batch, 0
}

// run writes the calls of a batch in one transaction; in smaller and smaller ones where
// locks of others, or one of the calls, kept all from being written.
func (s *Store) run(batch []*call) {
	began := time.Now()
	s.mu.Lock()
	s.committing = began
	s.mu.Unlock()
	values, err := s.transact(batch)
	if err == nil && len(values) < len(batch) {
		s.finish(batch[:len(values)], values, nil)
		s.batch = max(1, len(values))
		s.putBack(batch[len(values):])
		return
	}
	// A database that is far away takes less in its time.
	if errors.Is(err, context.DeadlineExceeded) {
		s.batch = max(1, len(batch)/2)
	} else if err == nil && time.Since(began) < callTimeout/4 {
		s.batch = min(maxBatch, 2*s.batch)
	}
	if err != nil && faultOf(err) <= passing && len(batch) > 1 {
		for part := range slices.Chunk(batch, (len(batch)+7)/8) {
			s.run(part)
		}
		return
	}
	s.finish(batch, values, err)
}

// putBack queues again, before all others, what a transaction had no time for. Nothing
// of it was written, and never is where no caller waits.
func (s *Store) putBack(rest []*call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest = slices.DeleteFunc(rest, func(c *call) bool { return c.left && !c.kept })
	s.queue = slices.Concat(rest, s.queue)
}

// finish answers the callers, and notes whether the store takes writes.
func (s *Store) finish(batch []*call, values []any, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	passes := faultOf(err) == passing
	if !passes {
		s.lockedSince = time.Time{}
	} else if s.lockedSince.IsZero() {
		s.lockedSince = s.committing
	}
	s.committing = time.Time{}
	passes = passes && time.Since(s.lockedSince) < callTimeout
	cause := s.cause // of which nothing is said by what finds locks of others, or is refused
	if err == nil || !passes && faultOf(err) != refused {
		cause = err
	}
	switch {
	case cause == nil && s.cause != nil:
		s.config.Logger.Info("the operations store takes writes again")
		wake(s.recovered)
	case cause != nil && (s.cause == nil || s.remedy(cause) != s.remedy(s.cause)):
		s.config.Logger.Error("the operations store does not take writes; starts and stops are refused until it does",
			"cause", err, "do", s.remedy(err))
	}
	s.cause, s.probeAt = cause, time.Now().Add(probeEvery)
	s.counts.commits.Inc()
	if err == nil {
		for i, c := range batch {
			s.counts.writes.Inc()
			s.answer(c, result{value: values[i]})
		}
		return
	}
	s.counts.failures.Inc()
	// What found locks of others is tried again while its caller waits, and what is kept
	// in any case, unless its statement is at fault.
	for _, c := range batch {
		again := passes && !c.left || c.kept && faultOf(err) != refused
		if again {
			s.queue = append(s.queue, c)
		}
		if again && c.kept {
			c.delayed, c.rests = true, s.probeAt // locks that others hold are not waited for in a loop
		}
		if !again || !passes { // who holds the lock goes on, or is ended by the database
			s.answer(c, result{err: fmt.Errorf("%w: %w: %w", ErrUnavailable, lifecycle.ErrUnconfirmed, err)})
		}
	}
}

func (s *Store) answer(c *call, r result) {
	select {
	case c.done <- r:
	default: // no caller waits, or it was answered that it is tried again
	}
}
