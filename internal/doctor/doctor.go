// Package doctor looks at everything that serving would need, before traffic
// does, and says what to do about what it finds. It changes nothing that stays:
// it asks no runtime, publishes nothing and takes no reply from others, so it
// may run beside the service.
package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

// Config says what to look at. It is filled from settings that are right in
// themselves.
type Config struct {
	// Warnings are what is unwise about the settings, SecretWarnings about the
	// JWT secrets, of which there are so many.
	Warnings, SecretWarnings []string
	Secrets                  int
	// SecretFiles are files that hold secrets; empty names are passed over.
	SecretFiles []string
	// JWKSURL is where public keys come from; empty for nowhere or a file, which
	// the settings have been checked with.
	JWKSURL string

	Addr  string // as --addr
	Admin string // as --admin-addr; empty for off
	// Socket is about the unix sockets among the two.
	Socket         Socket
	MaxConnections int

	Events *Events // nil where no backend needs it
	// DataDir is where the usage outbox is; empty without one.
	DataDir string
	Nginx   *Nginx // nil when no configuration is given

	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Socket is what a unix socket is given.
type Socket struct {
	Mode  os.FileMode
	Group string // empty for the process's own
	// GroupID finds the number of Group.
	GroupID func(nameOrNumber string) (int, error)
}

// Events is what is needed of the Bus Events API.
type Events struct {
	URL     string
	Token   func() (secret.String, error)
	Replies []string // the streams that must open
}

// Status is how a check went.
type Status string

// The statuses. Only Failed keeps the service from working.
const (
	OK      Status = "ok"
	Warning Status = "warning"
	Failed  Status = "failed"
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Detail is what was found.
	Detail string `json:"detail"`
	// Do is what to do about it; empty for OK.
	Do string `json:"do,omitempty"`
}

// lookTimeout bounds each look over the network.
const lookTimeout = 10 * time.Second

// Examine looks at everything in c. It takes at most about the timeout of one
// look, and ends early with ctx.
func Examine(ctx context.Context, c Config) Report {
	if c.Now == nil {
		c.Now = time.Now
	}
	var r Report
	for _, look := range []func(context.Context) []Check{
		c.settings, c.secrets, c.publicKeys, c.secretFiles,
		c.address, c.adminAddress, c.limits,
		c.providerToken, c.events, c.dataDir, c.nginx,
	} {
		r.Checks = append(r.Checks, look(ctx)...)
	}
	return r
}

func ok(name, detail string) []Check { return []Check{{name, OK, detail, ""}} }

// orOK is found, or one OK check when nothing was.
func orOK(found []Check, name, detail string) []Check {
	if len(found) > 0 {
		return found
	}
	return ok(name, detail)
}

// Report is all that was found.
type Report struct{ Checks []Check }

// Result is the worst status.
func (r Report) Result() Status {
	worst := OK
	for _, check := range r.Checks {
		if check.Status == Failed {
			return Failed
		}
		if check.Status == Warning {
			worst = Warning
		}
	}
	return worst
}

// Count is how many checks went so.
func (r Report) Count(status Status) (n int) {
	for _, check := range r.Checks {
		if check.Status == status {
			n++
		}
	}
	return n
}

// MarshalJSON makes {"result","checks":[{"name","status","detail","do"?}]}.
func (r Report) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Result Status  `json:"result"`
		Checks []Check `json:"checks"`
	}{r.Result(), r.Checks})
}

// WriteJSON writes the document for programs.
func (r Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// shown is how people read a status.
var shown = map[Status]string{OK: "ok", Warning: "warn", Failed: "FAIL"}

// WriteText writes a line for each check, and one below it that says what to
// do.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, check := range r.Checks {
		fmt.Fprintf(&b, "%-4s  %-14s  %s\n", shown[check.Status], check.Name, check.Detail)
		if check.Do != "" {
			fmt.Fprintf(&b, "%-4s  %-14s  do: %s\n", "", "", check.Do)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
