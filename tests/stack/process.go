package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

const (
	startPatience = 30 * time.Second
	stopPatience  = 15 * time.Second
	lookEvery     = 10 * time.Millisecond
)

// process is a child with its output in a file.
type process struct {
	name    string
	log     string // path
	command *exec.Cmd
	ended   chan struct{}
}

// begin starts program with nothing but env and PATH. It is not in the process
// group of this command, so that Ctrl-C reaches it in the order of stack.down.
func begin(log string, env []string, program string, args ...string) (*process, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own
	p := &process{name: filepath.Base(program), log: log, command: exec.Command(program, args...), ended: make(chan struct{})}
	p.command.Env = append(env, "PATH="+os.Getenv("PATH"))
	p.command.Stdout, p.command.Stderr = out, out
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		defer close(p.ended)
		_ = p.command.Wait() // failure tells its outcome
	}()
	return p, nil
}

// says waits until a line of the log matches, and returns the submatches.
func (p *process) says(ctx context.Context, pattern *regexp.Regexp) (match []string, err error) {
	err = p.until(ctx, func() bool {
		text, _ := os.ReadFile(p.log) // it is there, or will be
		match = pattern.FindStringSubmatch(string(text))
		return match != nil
	})
	return match, err
}

// until looks again and again; an error means that the process or ctx ended
// first, or that it took too long.
func (p *process) until(ctx context.Context, ok func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience, fmt.Errorf("%s takes too long to start", p.name))
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-p.ended:
			return p.failure()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// failure says how a process ended that should not have, with its last words.
func (p *process) failure() error {
	const lastWords = 2000
	<-p.ended
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s ended: %s\n%s", p.name, p.command.ProcessState, text[max(0, len(text)-lastWords):])
}

// stop ends it in order, and by force when that takes too long. One that has
// ended before has nothing to say here.
func (p *process) stop() error {
	select {
	case <-p.ended:
		return nil
	default:
	}
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	select {
	case <-p.ended:
	case <-patience.C:
		_ = p.command.Process.Kill() // it may be gone by now
		<-p.ended
		return fmt.Errorf("%s had to be killed", p.name)
	}
	if code := p.command.ProcessState.ExitCode(); code != 0 {
		return p.failure()
	}
	return nil
}
