package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// secret signs all tokens here. Everybody knows it: the stack is reachable from
// this machine only.
const secret = platform.DevSecret

// The accounts of the walk: one that may, and one that billing denies.
const (
	paying = "00000000-0000-4000-8000-000000000001"
	broke  = "00000000-0000-4000-8000-000000000002"
)

// stack is what runs. Parts are nil until they do.
type stack struct {
	options
	dir      string
	platform *platform.Platform
	provider *process
	front    *process
	base     string // URL of the API: nginx, or the gateway itself
}

// up starts everything, from the back to the front.
func (s *stack) up(ctx context.Context) (err error) {
	if s.dir, err = os.MkdirTemp("", "bus-vm-stack-"); err != nil {
		return err
	}
	binary, err := s.build(ctx)
	if err != nil {
		return err
	}
	if s.platform, err = s.startPlatform(); err != nil {
		return err
	}
	s.platform.Billing.Decide(broke, platform.Decision{Command: "bus billing setup", RecommendedPlan: "vm-basic"})
	addr, err := s.startGateway(ctx, binary)
	if err != nil {
		return err
	}
	s.base = "http://" + addr
	if s.noNginx {
		return nil
	}
	addr, err = s.startNginx(ctx, addr)
	s.base = "http://" + addr
	return err
}

// down ends everything, from the front to the back, and removes what it wrote.
func (s *stack) down() error {
	var failures []error
	for _, p := range []*process{s.front, s.provider} {
		if p != nil {
			failures = append(failures, p.stop())
		}
	}
	if s.platform != nil {
		failures = append(failures, s.platform.Close())
	}
	if s.dir != "" {
		failures = append(failures, os.RemoveAll(s.dir))
	}
	return errors.Join(failures...)
}

// wait returns when ctx ends, or a part of the stack did, which is an error.
func (s *stack) wait(ctx context.Context) error {
	front := make(chan struct{}) // never ends without nginx
	if s.front != nil {
		front = s.front.ended
	}
	select {
	case <-ctx.Done():
		return nil
	case <-s.provider.ended:
		return s.provider.failure()
	case <-front:
		return s.front.failure()
	}
}

// build compiles the gateway of the module that this command is part of.
func (s *stack) build(ctx context.Context) (binary string, err error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	binary = filepath.Join(s.dir, "bus-api-provider-vm")
	command := exec.CommandContext(ctx, "go", "build", "-o", binary, ".")
	command.Dir = root
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the gateway: %w\n%s", err, output)
	}
	return binary, nil
}

func moduleRoot(ctx context.Context) (string, error) {
	file, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(file))), nil
}

// startPlatform starts the Events API and the workers.
func (s *stack) startPlatform() (*platform.Platform, error) {
	config := platform.Config{
		Addr: s.event, Secret: secret,
		VM: platform.VMConfig{StartTime: s.startTime, StopTime: s.stopTime, Provider: "example"},
	}
	p, err := platform.Start(config)
	if isTaken(err) {
		config.Addr = ""
		p, err = platform.Start(config)
	}
	return p, err
}

var serving = regexp.MustCompile(`msg=serving .*? addr=(\S+)`)

// startGateway starts the gateway in events mode and returns where it listens.
func (s *stack) startGateway(ctx context.Context, binary string) (addr string, err error) {
	token := filepath.Join(s.dir, "provider.token")
	if err := os.WriteFile(token, []byte(s.platform.ProviderToken()+"\n"), 0o600); err != nil {
		return "", err
	}
	for _, addr := range []string{s.gateway, "127.0.0.1:0"} {
		s.provider, err = begin(filepath.Join(s.dir, "gateway.log"),
			[]string{"BUS_VM_JWT_SECRET=" + secret, "BUS_EVENTS_LISTENER_REQUIRED=1"},
			binary, "--addr", addr,
			"--backend", "events", "--billing-backend", "events", "--usage-backend", "events",
			"--events-url", s.platform.URL(), "--token-file", token, "--data-dir", filepath.Join(s.dir, "data"))
		if err != nil {
			return "", err
		}
		match, err := s.provider.says(ctx, serving)
		if err == nil {
			return match[1], nil
		}
		if !isTaken(err) {
			return "", err
		}
	}
	return "", s.provider.failure()
}

// isTaken reports an address that somebody else listens on, said by this
// process or in the log of a child.
func isTaken(err error) bool {
	return err != nil && strings.Contains(strings.ToLower(err.Error()), "address already in use")
}
