package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

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

// throughput is in writes a second.
func (s shots) throughput() float64 { return float64(len(s.latency)) / s.took.Seconds() }

func startRequest(token string) []byte {
	return []byte("POST " + routes.StartPath + " HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer " + token +
		"\r\nContent-Length: 0\r\n\r\n")
}

// openLoop sends n writes, rate a second, whatever becomes of those before.
func (s *server) openLoop(ctx context.Context, token string, n, rate, connections int) shots {
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
	return s.shoot(ctx, token, n, connections, func() (at time.Time, more bool) {
		at, more = <-due
		return at, more
	})
}

// closedLoop sends n writes, so many at a time.
func (s *server) closedLoop(ctx context.Context, token string, n, writers int) shots {
	var sent atomic.Int64
	return s.shoot(ctx, token, n, writers, func() (time.Time, bool) { return time.Now(), sent.Add(1) <= int64(n) })
}

// shoot sends a write for each moment that next returns, over so many connections.
func (s *server) shoot(ctx context.Context, token string, n, connections int, next func() (time.Time, bool)) shots {
	request := startRequest(token)
	before := cpuTime(s.cmd.Process.Pid)
	began := time.Now()
	var mu sync.Mutex
	latency := make([]time.Duration, 0, n)
	check(s.load(ctx, connections, func(exchange func([]byte) (int, error)) error {
		for at, more := next(); more; at, more = next() {
			status, err := exchange(request)
			if err != nil {
				return err
			}
			if status != fasthttp.StatusAccepted {
				return fmt.Errorf("a write was answered with %d", status)
			}
			took := time.Since(at)
			mu.Lock()
			latency = append(latency, took)
			mu.Unlock()
		}
		return nil
	}))
	took := time.Since(began)
	after := cpuTime(s.cmd.Process.Pid)
	slices.Sort(latency)
	return shots{latency: latency, took: took, cpu: after - before}
}

// load lets send make its requests over so many connections at the same time, one
// after the other on each. The first failure ends all.
func (s *server) load(ctx context.Context, connections int, send func(exchange func([]byte) (status int, err error)) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	for range connections {
		wait.Go(func() {
			c, err := net.Dial("tcp", s.addr)
			if err != nil {
				cancel(err)
				return
			}
			defer c.Close()
			replies, reply := bufio.NewReader(c), fasthttp.Response{}
			err = send(func(request []byte) (int, error) {
				if ctx.Err() != nil {
					return 0, context.Cause(ctx)
				}
				if _, err := c.Write(request); err != nil {
					return 0, err
				}
				err := reply.Read(replies)
				return reply.StatusCode(), err
			})
			if err != nil {
				cancel(fmt.Errorf("%s: %w", s.name, err))
			}
		})
	}
	wait.Wait()
	return context.Cause(ctx)
}
