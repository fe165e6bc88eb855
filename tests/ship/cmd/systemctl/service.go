package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/ship/unit"
)

const (
	// dynamicUser is who runs services with DynamicUser=yes.
	dynamicUser = 61184
	// startTimeout and stopTimeout are what systemd waits by default.
	startTimeout = 90 * time.Second
	stopTimeout  = 90 * time.Second
)

// service is a unit of a name, with its socket unit if that is started.
type service struct {
	name     string
	socket   *os.File // held while the socket unit is active
	fdName   string
	process  *exec.Cmd
	ended    chan struct{} // closed when process has ended
	notified *net.UnixConn
}

func (s *service) logFile() string { return filepath.Join(runtimeDirectory, s.name+".log") }

func (s *service) active(kind string) bool {
	if kind == "socket" {
		return s.socket != nil
	}
	if s.process == nil {
		return false
	}
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

func (s *service) do(verb, kind string) error {
	if kind == "socket" {
		return s.doSocket(verb)
	}
	file, err := unit.Find(s.name+".service", unitDirectories...)
	if err != nil {
		return err
	}
	switch {
	case verb == "start" && s.active(kind), verb == "try-restart" && !s.active(kind), verb == "stop" && !s.active(kind):
		return nil
	case verb == "start":
		return s.start(file)
	case verb == "stop":
		return s.stop(file)
	case verb == "reload":
		return s.reload(file)
	}
	if s.active(kind) {
		if err := s.stop(file); err != nil {
			return err
		}
	}
	return s.start(file)
}

// start runs ExecStart= and waits for READY=1.
func (s *service) start(file unit.File) error {
	environment, err := s.prepare(file)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	// The shell gives the process its own id, as sd_listen_fds(3) asks for.
	words := append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`}, strings.Fields(file.One("Service.ExecStart"))...)
	s.process = exec.Command("/bin/sh", words...)
	s.process.Env, s.process.Dir = environment, "/"
	s.process.Stdout, s.process.Stderr = log, log
	if s.socket != nil {
		s.process.ExtraFiles = []*os.File{s.socket}
		s.process.Env = append(s.process.Env, "LISTEN_FDS=1", "LISTEN_FDNAMES="+s.fdName)
	}
	if file.One("Service.DynamicUser") == "yes" {
		s.process.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: dynamicUser, Gid: dynamicUser}}
	}
	if err := s.process.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	s.ended = ended
	go func(process *exec.Cmd) {
		defer close(ended)
		_ = process.Wait() // its outcome stands in ProcessState
	}(s.process)
	return s.await("READY=1", 0)
}

// stop asks the process to end, and ends it after TimeoutStopSec=.
func (s *service) stop(file unit.File) error {
	limit := stopTimeout
	if seconds, err := strconv.Atoi(file.One("Service.TimeoutStopSec")); err == nil {
		limit = time.Duration(seconds) * time.Second
	}
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.ended:
	case <-time.After(limit):
		_ = s.process.Process.Kill()
		<-s.ended
		return fmt.Errorf("it did not stop within %s and was killed", limit)
	}
	if code := s.process.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("it ended with %d", code)
	}
	return nil
}

// reload is Type=notify-reload: SIGHUP, then RELOADING=1 with a later time, then
// READY=1.
func (s *service) reload(file unit.File) error {
	if file.One("Service.Type") != "notify-reload" || !s.active("service") {
		return errors.New("reload is not applicable")
	}
	requested := monotonic()
	if err := s.process.Process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	if err := s.await("RELOADING=1", requested); err != nil {
		return err
	}
	return s.await("READY=1", 0)
}
