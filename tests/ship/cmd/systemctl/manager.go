package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/ship/unit"
)

// unitDirectories are searched in this order.
var unitDirectories = []string{"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// The exit codes of systemctl(1).
const (
	failed    = 1
	notActive = 3
)

// manager knows the services by their names without suffix.
type manager struct{ units map[string]*service }

// obey carries out one command line.
func (m *manager) obey(line []string) reply {
	flags, words := split(line)
	if len(words) == 0 {
		return reply{"no command\n", failed}
	}
	verb, names := words[0], words[1:]
	switch verb {
	case "daemon-reload", "show", "reset-failed", "is-system-running":
		return reply{}
	}
	var answer reply
	for _, name := range names {
		one := m.one(verb, name, flags)
		answer.Out += one.Out
		answer.Code = max(answer.Code, one.Code)
	}
	return answer
}

func (m *manager) one(verb, name string, flags map[string]bool) reply {
	kind := strings.TrimPrefix(filepath.Ext(name), ".")
	name = strings.TrimSuffix(name, filepath.Ext(name))
	if kind == "" {
		kind = "service"
	}
	if kind == "target" && verb == "is-active" { // the machine is up
		return reply{"active\n", 0}
	}
	if kind == "service" && !m.runnable(name) {
		return initScript(verb, name)
	}
	s := m.service(name)
	var err error
	switch verb {
	case "enable", "disable":
		if err = link(verb, name+"."+kind); err == nil && flags["--now"] {
			err = s.do(map[string]string{"enable": "start", "disable": "stop"}[verb], kind)
		}
	case "start", "stop", "restart", "reload", "try-restart", "reload-or-restart":
		err = s.do(verb, kind)
	case "is-active", "status":
		if s.active(kind) {
			return reply{"active\n", 0}
		}
		return reply{"inactive\n", notActive}
	case "log":
		text, readErr := os.ReadFile(s.logFile())
		if err = readErr; err == nil {
			return reply{string(text), 0}
		}
	default:
		err = fmt.Errorf("this stand-in knows no %q", verb)
	}
	if err != nil {
		return reply{fmt.Sprintf("%s %s.%s: %v\n", verb, name, kind, err), failed}
	}
	return reply{}
}

func (m *manager) service(name string) *service {
	if m.units[name] == nil {
		m.units[name] = &service{name: name}
	}
	return m.units[name]
}

func (m *manager) stopAll() {
	for _, s := range m.units {
		_ = s.do("stop", "socket")
		_ = s.do("stop", "service")
	}
}

// runnable reports whether a unit speaks sd_notify, or does not exist at all.
func (m *manager) runnable(name string) bool {
	file, err := unit.Find(name+".service", unitDirectories...)
	if err != nil {
		_, err := os.Stat("/etc/init.d/" + name)
		return err != nil
	}
	return strings.HasPrefix(file.One("Service.Type"), "notify")
}

// initScript leaves a service to the older way of starting it.
func initScript(verb, name string) reply {
	switch verb {
	case "enable", "disable", "preset":
		return reply{}
	case "is-enabled":
		return reply{"enabled\n", 0}
	case "try-restart", "reload-or-restart":
		verb = "restart"
	case "is-active":
		verb = "status"
	}
	script := exec.Command("/etc/init.d/"+name, verb)
	script.WaitDelay = time.Second // what it starts may keep its output
	output, err := script.CombinedOutput()
	if err != nil {
		return reply{fmt.Sprintf("%s%v\n", output, err), failed}
	}
	return reply{string(output), 0}
}

// link makes or removes the links that [Install] asks for.
func link(verb, name string) error {
	file, err := unit.Find(name, unitDirectories...)
	if err != nil {
		return err
	}
	for _, target := range file.Words("Install.WantedBy") {
		path := filepath.Join(unitDirectories[0], target+".wants", name)
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
		if verb == "disable" {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("/usr/lib/systemd/system/"+name, path); err != nil {
			return err
		}
	}
	return nil
}
