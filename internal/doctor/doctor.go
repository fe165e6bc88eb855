// Package doctor examines everything that serving would need, before traffic
// does, and says what to do about what it finds. It changes nothing that stays,
// publishes nothing but one question for the status and takes no reply from
// others, so it may run beside the service.
package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

// Service is what is examined: valid settings, and what is made of them.
type Service struct {
	*config.Config
	// Listen listens on an address as the service does. Its errors say what is
	// wrong and, after a semicolon, what to do, like the warnings of a Config.
	Listen func(addr string, socket config.Socket) (net.Listener, error)
	// Token is where the provider's token comes from, nil where no backend needs
	// Events; Replies are the streams that must open.
	Token   func() (secret.String, error)
	Replies []string
	// AskStatus asks the VM worker for the state of the machine with a client that
	// runs, as the service does; nil where no worker is needed.
	AskStatus func(context.Context, *events.Client) (state string, err error)
	// NginxConf is a file with the configuration of the nginx in front: what
	// nginx -T prints, or a file that holds all that counts. Empty for none.
	NginxConf string
}

// Status is how a check went.
type Status int

// The statuses, the worst last. Only Failed keeps the service from working.
const (
	OK Status = iota
	Warning
	Failed
)

// MarshalText is for programs.
func (s Status) MarshalText() ([]byte, error) {
	return []byte([]string{"ok", "warning", "failed"}[s]), nil
}

// Check is one thing that was examined.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Detail string `json:"detail"`       // what was found
	Do     string `json:"do,omitempty"` // what to do about it; empty for OK
}

// networkTimeout bounds each exchange over the network.
const networkTimeout = 10 * time.Second

// Examine examines everything that s needs. Each exchange takes
// networkTimeout at most, and all of them end early with ctx.
func Examine(ctx context.Context, s Service) (r Report) {
	for _, examine := range []func(context.Context, *Report){
		s.settings, s.publicKeys, s.secretFiles, s.addresses, s.events, s.dataDir, s.database, s.nginx,
	} {
		examine(ctx, &r)
	}
	return r
}

// Report is all that was found.
type Report struct{ Checks []Check }

// add adds a check, once.
func (r *Report) add(check Check) {
	if !slices.Contains(r.Checks, check) {
		r.Checks = append(r.Checks, check)
	}
}

func (r *Report) fail(name, detail, do string) { r.add(Check{name, Failed, detail, do}) }
func (r *Report) warn(name, detail, do string) { r.add(Check{name, Warning, detail, do}) }

// ok says that a check is passed, unless it has found something.
func (r *Report) ok(name, detail string) {
	if !slices.ContainsFunc(r.Checks, func(c Check) bool { return c.Name == name }) {
		r.add(Check{name, OK, detail, ""})
	}
}

// advice splits a message that says what to do after a semicolon.
func advice(message, otherwise string) (detail, do string) {
	detail, do, _ = strings.Cut(message, "; ")
	return detail, cmp.Or(do, otherwise)
}

// Failures is how many checks failed.
func (r Report) Failures() (n int) {
	for _, check := range r.Checks {
		if check.Status == Failed {
			n++
		}
	}
	return n
}

// WriteJSON writes the document for programs:
// {"result","checks":[{"name","status","detail","do"?}]}. The result is the
// worst status.
func (r Report) WriteJSON(w io.Writer) error {
	var result Status
	for _, check := range r.Checks {
		result = max(result, check.Status)
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(struct {
		Result Status  `json:"result"`
		Checks []Check `json:"checks"`
	}{result, r.Checks})
}

// WriteText writes a line for each check, and one below it that says what to
// do.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, check := range r.Checks {
		fmt.Fprintf(&b, "%-4s  %-14s  %s\n", []string{"ok", "warn", "FAIL"}[check.Status], check.Name, check.Detail)
		if check.Do != "" {
			fmt.Fprintf(&b, "%-4s  %-14s  do: %s\n", "", "", check.Do)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
