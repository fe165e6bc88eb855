package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/busdk/bus-api-provider-vm/tests/bench/peers/wire"
)

const (
	// spareFiles are what a process needs open beside its connections.
	spareFiles = 200
	// dialers open connections at the same time.
	dialers = 32
	// settle is how long servers get to return what they do not need.
	settle = 1500 * time.Millisecond
)

// connections measures memory: of a server at rest, and for each keep-alive
// connection that has served one request and rests.
func (b *bench) connections(ctx context.Context) {
	n := connectionBudget(b.idle)
	s := b.report.section("Memory of idle connections",
		fmt.Sprintf("%d keep-alive connections; each has served one status read and rests.", n),
		"", "at start", "with the connections", "a connection")
	for _, spec := range pick(gatewayName, fasthttpPeer, fiberPeer, netHTTPPeer) {
		before, after := b.idleMemory(ctx, spec, n)
		each := float64(after-before) / float64(n)
		s.row(spec.name, megabytes(float64(before)), megabytes(float64(after)), fmt.Sprintf("%.1f KB", each/1000))
		if spec.name == gatewayName {
			b.report.goal("memory: ≤ 25 MB resident at rest", megabytes(float64(before)), float64(before), 25e6, "")
			b.report.goal(fmt.Sprintf("memory: ≤ 12 KB a connection at %d idle ones", n), fmt.Sprintf("%.1f KB", each/1000), each, 12e3, "")
		}
	}
}

// connectionBudget returns n, or what the limit on open files allows.
func connectionBudget(n int) int {
	var limit syscall.Rlimit
	check(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	if int(limit.Cur) < n+spareFiles {
		n = int(limit.Cur) - spareFiles
	}
	if n < 1 {
		check(fmt.Errorf("at most %d open files are allowed; raise ulimit -n", limit.Cur))
	}
	return n
}

func (b *bench) idleMemory(ctx context.Context, spec spec, n int) (before, after int64) {
	s := b.start(ctx, spec)
	defer s.stop()
	check(pause(ctx, settle))
	before = resident(s.cmd.Process.Pid)
	closeAll := s.occupy(n, b.mint.token(good))
	defer closeAll()
	check(pause(ctx, settle))
	return before, resident(s.cmd.Process.Pid)
}

// occupy opens n connections and sends one status read on each.
func (s *server) occupy(n int, token string) (closeAll func()) {
	request := statusRequest(token)
	connections := make([]net.Conn, n)
	failures := make([]error, dialers)
	var dialing sync.WaitGroup
	for d := range dialers {
		dialing.Go(func() {
			for i := d; i < n && failures[d] == nil; i += dialers {
				connections[i], failures[d] = s.ask(request)
			}
		})
	}
	dialing.Wait()
	closeAll = func() {
		for _, c := range connections {
			if c != nil {
				_ = c.(*net.TCPConn).SetLinger(0) // leave no port behind in TIME_WAIT
				_ = c.Close()
			}
		}
	}
	if err := errors.Join(failures...); err != nil {
		closeAll()
		check(fmt.Errorf("%s: %w", s.name, err))
	}
	return closeAll
}

func statusRequest(token string) []byte {
	return []byte("GET " + wire.Path + " HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer " + token + "\r\n\r\n")
}

// ask opens a connection, sends one request and reads the reply.
func (s *server) ask(request []byte) (net.Conn, error) {
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(request); err != nil {
		return c, err
	}
	var reply fasthttp.Response
	err = reply.Read(bufio.NewReader(c))
	if status := reply.StatusCode(); err == nil && status != fasthttp.StatusOK {
		err = fmt.Errorf("status %d", status)
	}
	return c, err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
