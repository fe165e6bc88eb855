package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"syscall"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/bench/peers/wire"
)

const (
	// comeUp bounds how long a server may take to answer.
	comeUp = 30 * time.Second
	// comeUpPoll is the pause between two tries to reach it.
	comeUpPoll = 100 * time.Microsecond
	// goDown bounds how long a server may take to end by itself.
	goDown = 5 * time.Second
)

// server is a process on the server core.
type server struct {
	spec
	addr   string
	cmd    *exec.Cmd
	ended  chan error
	output *bytes.Buffer // what it said, complete once it ended
}

// start runs a server and returns once it answers a status read with exactly
// the bytes all of them must answer with.
func (b *bench) start(ctx context.Context, s spec) *server {
	token := b.mint.token(good)
	return b.startWhen(ctx, s, func(s *server) error { return s.check(ctx, token) })
}

// startWhen runs a server and returns once ready says nil.
func (b *bench) startWhen(ctx context.Context, s spec, ready func(*server) error) *server {
	running := b.launch(s)
	ctx, cancel := context.WithTimeout(ctx, comeUp)
	defer cancel()
	for {
		err := ready(running)
		if err == nil {
			return running
		}
		if len(running.ended) > 0 || pause(ctx, comeUpPoll) != nil {
			running.stop()
			check(fmt.Errorf("%s does not come up: %w\n%s", s.name, err, running.output))
		}
	}
}

// launch runs a server and does not wait for it.
func (b *bench) launch(s spec) *server {
	addr := must(freeAddr())
	cmd := s.command(b.dir, addr)
	running := &server{spec: s, addr: addr, cmd: cmd, ended: make(chan error, 1), output: &bytes.Buffer{}}
	cmd.Env = append(cmd.Env, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", wire.SecretEnv+"="+benchSecret)
	cmd.Stdout, cmd.Stderr = running.output, running.output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // no server outlives this program
	check(startOn(b.serverCore, b.loadCore, cmd))
	go func() { running.ended <- cmd.Wait() }()
	return running
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// reach says whether the server takes connections.
func (s *server) reach() error {
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		return err
	}
	return c.Close()
}

// check holds the server to the common answer.
func (s *server) check(ctx context.Context, token string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url(), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	header := response.Header
	if response.StatusCode != http.StatusOK || string(body) != cmp.Or(s.wants, wire.Document) ||
		header.Get("Content-Type") != wire.Type || header.Get(wire.CacheName) != wire.Cache ||
		len(header.Get(wire.IDName)) != len(wire.ID) {
		return fmt.Errorf("answers a status read with %s %v %s", response.Status, header, body)
	}
	return nil
}

func (s *server) url() string { return "http://" + s.addr + wire.Path }

// stop ends the server.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(goDown):
		_ = s.cmd.Process.Kill()
		<-s.ended
	}
}
