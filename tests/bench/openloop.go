package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/busdk/bus-api-provider-vm/routes"
)

// Writes have a loader of their own: wrk sends the next request when the last
// one was answered, so a server that stalls is asked less and looks better than
// it is. Here every write has its moment, and its latency counts from there.

// shots are the latencies of writes, sorted, and what was used for them.
type shots struct {
	latency []time.Duration
	took    time.Duration
	cpu     time.Duration // of the server
}

// quantile returns the latency below which that share of the writes was.
func (s shots) quantile(q float64) time.Duration {
	return s.latency[min(len(s.latency)-1, int(q*float64(len(s.latency))))]
}

// perWrite is the server's CPU time for one write, in µs.
func (s shots) perWrite() float64 {
	return float64(s.cpu.Nanoseconds()) / 1e3 / float64(len(s.latency))
}

func startRequest(token string) []byte {
	return []byte("POST " + routes.StartPath + " HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer " + token +
		"\r\nContent-Length: 0\r\n\r\n")
}

// openLoop sends n writes, rate a second, whatever becomes of those before.
func (s *server) openLoop(ctx context.Context, token string, n, rate, connections int) (shots, error) {
	begin := time.Now().Add(10 * time.Millisecond)
	due := make(chan time.Time, n)
	go func() {
		defer close(due)
		for i := range n {
			at := begin.Add(time.Duration(i) * time.Second / time.Duration(rate))
			if pause(ctx, time.Until(at)) != nil {
				return
			}
			due <- at
		}
	}()
	return s.shoot(ctx, token, due, n, connections)
}

// closedLoop sends n writes, so many at a time.
func (s *server) closedLoop(ctx context.Context, token string, n, writers int) (shots, error) {
	due := make(chan time.Time, n)
	for range n {
		due <- time.Time{} // now, whenever that is
	}
	close(due)
	return s.shoot(ctx, token, due, n, writers)
}

// shoot sends a write for each moment in due, over so many connections.
func (s *server) shoot(ctx context.Context, token string, due <-chan time.Time, n, connections int) (shots, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	request := startRequest(token)
	before, err := cpuTime(s.cmd.Process.Pid)
	if err != nil {
		return shots{}, err
	}
	began := time.Now()
	var mu sync.Mutex
	latency := make([]time.Duration, 0, n)
	var wait sync.WaitGroup
	for range connections {
		wait.Go(func() {
			own, err := s.writes(ctx, request, due)
			if err != nil {
				cancel(err)
			}
			mu.Lock()
			latency = append(latency, own...)
			mu.Unlock()
		})
	}
	wait.Wait()
	took := time.Since(began)
	if err := context.Cause(ctx); err != nil {
		return shots{}, fmt.Errorf("%s: %w", s.name, err)
	}
	after, err := cpuTime(s.cmd.Process.Pid)
	if err != nil {
		return shots{}, err
	}
	slices.Sort(latency)
	return shots{latency: latency, took: took, cpu: after - before}, nil
}

// writes sends one write after the other over one connection.
func (s *server) writes(ctx context.Context, request []byte, due <-chan time.Time) (latency []time.Duration, err error) {
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	replies := bufio.NewReader(c)
	for at := range due {
		if at.IsZero() {
			at = time.Now()
		}
		if ctx.Err() != nil {
			return nil, nil // the canceller says why
		}
		if _, err := c.Write(request); err != nil {
			return nil, err
		}
		status, err := readReply(replies)
		if err != nil {
			return nil, err
		}
		if status != 202 {
			return nil, fmt.Errorf("a write was answered with %d", status)
		}
		latency = append(latency, time.Since(at))
	}
	return latency, nil
}
