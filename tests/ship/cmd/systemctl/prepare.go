package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	unitfile "github.com/busdk/bus-api-provider-vm/tests/ship/unit"
)

// prepare makes what the unit promises to its process, and returns the
// environment that tells of it (systemd.exec(5)).
func (s *service) prepare(file unitfile.File) (environment []string, err error) {
	environment = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, kind := range []struct{ key, variable, parent string }{
		{"Service.StateDirectory", "STATE_DIRECTORY", "/var/lib"},
		{"Service.RuntimeDirectory", "RUNTIME_DIRECTORY", "/run"},
	} {
		name := file.One(kind.key)
		if name == "" {
			continue
		}
		mode, err := strconv.ParseUint(file.One(kind.key+"Mode"), 8, 32)
		if err != nil {
			return nil, fmt.Errorf("%sMode: %w", kind.key, err)
		}
		path := filepath.Join(kind.parent, name)
		if err := own(path, os.FileMode(mode)); err != nil {
			return nil, err
		}
		environment = append(environment, kind.variable+"="+path)
	}
	credentials := filepath.Join("/run/credentials", s.name+".service")
	if err := os.RemoveAll(credentials); err != nil {
		return nil, err
	}
	if err := own(credentials, 0o500); err != nil {
		return nil, err
	}
	for _, credential := range file["Service.LoadCredential"] {
		name, source, _ := strings.Cut(credential, ":")
		text, err := os.ReadFile(source)
		if err != nil {
			return nil, fmt.Errorf("credential %s (systemd ends it with 243/CREDENTIALS): %w", name, err)
		}
		path := filepath.Join(credentials, name)
		if err := errors.Join(os.WriteFile(path, text, 0o400), os.Chown(path, dynamicUser, dynamicUser)); err != nil {
			return nil, err
		}
	}
	environment = append(environment, "CREDENTIALS_DIRECTORY="+credentials)

	if s.notified != nil {
		_ = s.notified.Close()
	}
	path := filepath.Join(runtimeDirectory, s.name+".notify")
	_ = os.Remove(path)
	if s.notified, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}); err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, err
	}
	environment = append(environment, "NOTIFY_SOCKET="+path)
	if seconds := file.One("Service.WatchdogSec"); seconds != "" {
		environment = append(environment, "WATCHDOG_USEC="+seconds+"000000")
	}
	return environment, nil
}

// own makes a directory of the service's user.
func own(path string, mode os.FileMode) error {
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.MkdirAll(path, mode), os.Chmod(path, mode), os.Chown(path, dynamicUser, dynamicUser))
}

// await waits until the service says a word, with a time of at least since if
// that is not 0.
func (s *service) await(word string, since int64) error {
	deadline := time.Now().Add(startTimeout)
	buffer := make([]byte, 4096)
	for time.Now().Before(deadline) {
		select {
		case <-s.ended:
			log, _ := os.ReadFile(s.logFile()) // without it the code says enough
			return fmt.Errorf("it ended with %d instead of %s:\n%s", s.process.ProcessState.ExitCode(), word, log)
		default:
		}
		const look = 100 * time.Millisecond // whether it has ended meanwhile
		if err := s.notified.SetReadDeadline(time.Now().Add(look)); err != nil {
			return err
		}
		n, err := s.notified.Read(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return err
		}
		said := map[string]string{}
		for line := range strings.Lines(string(buffer[:n])) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			said[name] = value
		}
		name, value, _ := strings.Cut(word, "=")
		at, _ := strconv.ParseInt(said["MONOTONIC_USEC"], 10, 64)
		if said[name] == value && at >= since {
			return nil
		}
	}
	return fmt.Errorf("no %s within %s", word, startTimeout)
}

// monotonic is the clock of MONOTONIC_USEC=.
func monotonic() int64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // fails for no clock that exists
	return now.Nano() / int64(time.Microsecond)
}
