package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

const (
	pollEvery    = 500 * time.Millisecond
	walkPatience = 30 * time.Second
	writes       = 2 // that are accepted
)

// walker makes calls with curl, in the words that it prints.
type walker struct {
	*stack
	out io.Writer
	env []string
}

// walk shows one life of the runtime. Its error says which answer was not as
// it should be.
func (s *stack) walk(ctx context.Context, out io.Writer) error {
	w := walker{stack: s, out: out, env: append(os.Environ(),
		"TOKEN="+s.platform.CallerToken(paying, "vm:read vm:write"),
		"OTHER="+s.platform.CallerToken(broke, "vm:read vm:write"))}
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error {
			return w.wait(ctx, "The provider is ready once it is subscribed to all replies", w.curl("", "GET", "/readyz"), `{"ok":true}`)
		},
		func(ctx context.Context) error {
			return w.call(ctx, "The runtime rests", w.api("TOKEN", "GET", "status"), `"state":"stopped"`, 200)
		},
		func(ctx context.Context) error {
			return w.call(ctx, "Start it: entitlement, usage record, request, reply", w.api("TOKEN", "POST", "start"), `{"accepted":true,"action":"start"}`, 202)
		},
		func(ctx context.Context) error {
			return w.wait(ctx, "Wait until it is ready", w.api("TOKEN", "GET", "status"), `"state":"ready"`)
		},
		func(ctx context.Context) error {
			return w.call(ctx, "Stop it", w.api("TOKEN", "POST", "stop"), `{"accepted":true,"action":"stop"}`, 202)
		},
		func(ctx context.Context) error {
			return w.wait(ctx, "Wait until it rests", w.api("TOKEN", "GET", "status"), `"state":"stopped"`)
		},
		func(ctx context.Context) error {
			return w.call(ctx, "An account without a plan is denied, and nothing is started or recorded",
				w.api("OTHER", "POST", "start"), `"type":"billing_required"`, 402)
		},
		w.records,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// curl is the command line of one call. The status comes on a line of its own.
func (w walker) curl(token, method, path string) string {
	words := []string{"curl", "-sS", "-w", `'\n%{http_code}\n'`}
	if method != "GET" {
		words = append(words, "-X", method)
	}
	if token != "" {
		words = append(words, "-H", `"Authorization: Bearer $`+token+`"`)
	}
	return strings.Join(append(words, w.base+path), " ")
}

func (w walker) api(token, method, action string) string {
	return w.curl(token, method, "/api/v1/vm/"+action)
}

// do runs a command line as it was printed.
func (w walker) do(ctx context.Context, line string) (string, error) {
	command := exec.CommandContext(ctx, "sh", "-c", line)
	command.Env = w.env
	answer, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", line, err, answer)
	}
	return string(answer), nil
}

func (w walker) title(title, line string) {
	fmt.Fprintf(w.out, "\n# %s\n$ %s\n", title, line)
}

// call shows a call whose answer must hold want and end with status.
func (w walker) call(ctx context.Context, title, line, want string, status int) error {
	w.title(title, line)
	answer, err := w.do(ctx, line)
	if err != nil {
		return err
	}
	fmt.Fprint(w.out, answer)
	if !strings.Contains(answer, want) || !strings.HasSuffix(answer, fmt.Sprintf("\n%d\n", status)) {
		return fmt.Errorf("want %d with %s", status, want)
	}
	return nil
}

// wait repeats a call until its answer holds want, and shows each answer that
// differs from the one before.
func (w walker) wait(ctx context.Context, title, line, want string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, walkPatience, fmt.Errorf("after %s still no %s", walkPatience, want))
	defer cancel()
	w.title(title, line)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for last := ""; ; {
		answer, err := w.do(ctx, line)
		if err != nil {
			return err
		}
		if answer != last {
			fmt.Fprint(w.out, answer)
			last = answer
		}
		if strings.Contains(answer, want) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// records shows what the usage integration has in the end.
func (w walker) records(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, walkPatience)
	defer cancel()
	fmt.Fprint(w.out, "\n# What the usage integration has on record\n")
	operations := w.operations()
	if len(operations) != writes {
		return fmt.Errorf("the audit log names %d accepted writes, want %d", len(operations), writes)
	}
	breaches := w.platform.Usage.WaitClean(ctx, operations...)
	for _, r := range w.platform.Usage.Records() {
		fmt.Fprintf(w.out, "%-24s request_id %s  event_id %s", r.EventType, r.RequestID, r.EventID)
		if outcome, ended := r.Data["outcome"]; ended {
			fmt.Fprintf(w.out, "  outcome %v", outcome)
		}
		fmt.Fprintln(w.out)
	}
	if breaches = append(breaches, w.platform.Check()...); len(breaches) > 0 {
		return fmt.Errorf("the records are not whole:\n%s", strings.Join(breaches, "\n"))
	}
	return nil
}

var auditLine = regexp.MustCompile(`msg=audit request_id=(\S+) subject=` + paying + ` action=(\S+) result=accepted`)

// operations are the accepted writes, as the gateway's audit log names them.
func (w walker) operations() (accepted []platform.Operation) {
	text, _ := os.ReadFile(w.provider.log) // written by now: the writes were answered
	for _, match := range auditLine.FindAllStringSubmatch(string(text), -1) {
		accepted = append(accepted, platform.Operation{Account: paying, RequestID: match[1], Action: match[2], Want: platform.WantFinished})
	}
	return accepted
}
