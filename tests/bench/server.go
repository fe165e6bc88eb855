package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/bench/peers/wire"
)

const (
	// comeUp bounds how long a server may take to answer.
	comeUp = 5 * time.Second
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
func (b *bench) start(ctx context.Context, s spec) (*server, error) {
	running, err := b.launch(s)
	if err != nil {
		return nil, err
	}
	if err := running.wait(ctx, b.mint.token(readClaims())); err != nil {
		running.stop()
		return nil, fmt.Errorf("%s: %w\n%s", s.name, err, strings.TrimSpace(running.output.String()))
	}
	return running, nil
}

// launch runs a server and does not wait for it.
func (b *bench) launch(s spec) (*server, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	cmd, err := s.command(b.dir, addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	running := &server{spec: s, addr: addr, cmd: cmd, ended: make(chan error, 1), output: &bytes.Buffer{}}
	cmd.Env = append(cmd.Env, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", wire.SecretEnv+"="+benchSecret)
	cmd.Stdout, cmd.Stderr = running.output, running.output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // no server outlives this program
	if err := startOn(b.serverCore, b.loadCore, cmd); err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	go func() { running.ended <- cmd.Wait() }()
	return running, nil
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// wait polls until the server answers as it should; in events mode it has to
// connect first.
func (s *server) wait(ctx context.Context, token string) error {
	ctx, cancel := context.WithTimeout(ctx, comeUp)
	defer cancel()
	if err := s.reach(ctx); err != nil {
		return err
	}
	for {
		err := s.check(ctx, token)
		if err == nil || pause(ctx, comeUpPoll) != nil {
			return err
		}
	}
}

// reach polls until the server takes connections.
func (s *server) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, comeUp)
	defer cancel()
	for {
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			return c.Close()
		}
		select {
		case err := <-s.ended:
			s.ended <- err
			return fmt.Errorf("ended before it served: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("not reachable: %w", err)
		case <-time.After(comeUpPoll):
		}
	}
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
	if response.StatusCode != http.StatusOK || string(body) != s.document() ||
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

// startAll runs several servers side by side: idle ones cost next to nothing.
func (b *bench) startAll(ctx context.Context, specs []spec) (fleet []*server, stop func(), err error) {
	stop = func() {
		for _, s := range fleet {
			s.stop()
		}
	}
	for _, s := range specs {
		if b.missing[s.name] {
			continue
		}
		running, err := b.start(ctx, s)
		if err != nil {
			stop()
			return nil, nil, err
		}
		fleet = append(fleet, running)
	}
	if len(fleet) == 0 {
		return nil, nil, errors.New("no server to measure")
	}
	return fleet, stop, nil
}
