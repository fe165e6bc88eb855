// Command systemctl stands in for systemd on a test machine that has none. It
// obeys the unit files as they are packaged: the command, credentials, state and
// runtime directories, the user, sockets, drop-ins, and the notifications of
// Type=notify-reload. What only a kernel and a real systemd can do it does not
// try: sandboxing, cgroups, watchdog, restarts, dependencies.
//
//	systemctl manager          run the manager, as systemd would
//	systemctl start UNIT...    and what else the documents of this repository use
//	journalctl -u UNIT         the log of a service, by the name of this program
//
// Units that it cannot run, such as forking ones, it leaves to /etc/init.d.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// runtimeDirectory holds the manager's socket, its notify sockets and logs.
const runtimeDirectory = "/run/systemctl"

const managerSocket = runtimeDirectory + "/manager"

// reply is what the manager answers to the words of a command line.
type reply struct {
	Out  string
	Code int
}

func main() {
	words := os.Args[1:]
	if filepath.Base(os.Args[0]) == "journalctl" {
		words = append([]string{"log"}, words...)
	}
	if len(words) == 1 && words[0] == "manager" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		if err := manage(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "manager:", err)
			os.Exit(1)
		}
		return
	}
	answer, err := ask(words)
	if err != nil {
		fmt.Fprintln(os.Stderr, "systemctl:", err)
		os.Exit(1)
	}
	fmt.Print(answer.Out)
	os.Exit(answer.Code)
}

// ask sends a command line to the manager.
func ask(words []string) (answer reply, err error) {
	connection, err := net.Dial("unix", managerSocket)
	if err != nil {
		return reply{}, err
	}
	defer connection.Close()
	if err := json.NewEncoder(connection).Encode(words); err != nil {
		return reply{}, err
	}
	return answer, json.NewDecoder(connection).Decode(&answer)
}

// manage answers command lines, one at a time, until ctx ends; then it stops
// what it started.
func manage(ctx context.Context) error {
	if err := os.MkdirAll(runtimeDirectory, 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll("/run/systemd/system", 0o755); err != nil { // sd_booted(3)
		return err
	}
	listener, err := net.Listen("unix", managerSocket)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	m := &manager{units: map[string]*service{}}
	defer m.stopAll()
	for {
		connection, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		var words []string
		if json.NewDecoder(connection).Decode(&words) == nil {
			_ = json.NewEncoder(connection).Encode(m.obey(words)) // the client is gone otherwise
		}
		_ = connection.Close()
	}
}

// split parts flags from words. The only flags that take a value are those of
// journalctl; -u names a unit.
func split(line []string) (flags map[string]bool, words []string) {
	flags = map[string]bool{}
	for i := 0; i < len(line); i++ {
		switch word := line[i]; {
		case word == "-u":
		case word == "-p" || word == "-n":
			i++
		case strings.HasPrefix(word, "-"):
			flags[word] = true
		default:
			words = append(words, word)
		}
	}
	return flags, words
}
