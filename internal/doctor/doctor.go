// Package doctor looks at everything that serving would need, before traffic
// does, and says what to do about what it finds. It changes nothing that stays:
// it asks no runtime, publishes nothing and takes no reply from others, so it
// may run beside the service.
package doctor

import (
	"context"
	"os"
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
