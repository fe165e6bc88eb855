// Package config is the one place where settings come from: a table of them
// (Settings), the layers they are read from, and the Config they end up in.
//
// Load reads, from the weakest to the strongest: defaults, what --dev brings,
// systemd credentials, ambient names of the platform, the YAML file, the
// environment, flags. It reports everything that is wrong in one *Error.
// --help, --print-config, docs/settings.md, the README and the OpenCLI
// document all derive from the table.
package config

import (
	"encoding/json"
	"log/slog"
	"os"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

// The modes of the three backends. Static is for Backend alone, None for
// Billing and Usage, Memory for Usage alone.
const (
	Static = "static"
	Events = "events"
	None   = "none"
	Memory = "memory"
)

// The formats of Log.
const (
	LogText = "text"
	LogJSON = "json"
)

// DevSecret is the published secret that --dev falls back to. Whoever knows it
// can sign tokens, and everybody does.
const DevSecret = "not-a-secret-local-development-hs256-key"

// Config is every setting, checked. Durations are never negative; the table
// states the bounds of each.
type Config struct {
	// File is the YAML file that was read, empty for none.
	File string
	// Dev is the one-command local start: loopback only, static backend.
	Dev bool

	// Addr is host:port, or unix: and an absolute path.
	Addr    string
	Socket  SocketConfig
	Backend string
	// Timeout bounds one request and reply through Events.
	Timeout time.Duration

	Events   EventsConfig
	Billing  BillingConfig
	Usage    UsageConfig
	DataDir  string
	JWT      JWTConfig
	Static   StaticConfig
	Status   StatusConfig
	Server   ServerConfig
	Limits   LimitsConfig
	Shutdown ShutdownConfig
	Admin    AdminConfig
	Log      LogConfig

	// Warnings are for the operator's log: nothing is wrong, something is unwise.
	Warnings []string

	// origin is a pointer so that printing a Config cannot print the
	// environment or a text that became a secret.
	origin *origin
}

// origin is what a Config was made of.
type origin struct {
	input  Input
	values values
}

// SocketConfig is the file of a unix socket.
type SocketConfig struct {
	Mode os.FileMode
	// Group is a name or a number; empty keeps the process's own.
	Group string
}

// EventsConfig is the way to the Bus Events API. Of Token and TokenFile at
// most one is set; exactly one when NeedsEvents.
type EventsConfig struct {
	URL              string
	Token            secret.String
	TokenFile        string
	ListenerRequired bool
	ListenerRetry    bool
	ListenerRetryMin time.Duration
	ListenerRetryMax time.Duration
	TokenRefresh     bool
	// LateReply is how long after a write was given up a reply still
	// completes its usage record.
	LateReply time.Duration
}

// BillingConfig says who is asked for entitlement.
type BillingConfig struct{ Backend string }

// UsageConfig says where usage records go.
type UsageConfig struct {
	Backend string
	// MaxRecords bounds the outbox.
	MaxRecords int
}

// JWTConfig is how callers' tokens are verified: HS256 with the secrets of
// LoadJWTSecrets, the other algorithms with public keys. At most one of
// JWKSFile and JWKSURL is set; with one of them there may be no secret.
type JWTConfig struct {
	Secret     secret.String
	SecretFile string
	JWKSFile   string
	JWKSURL    string
	Leeway     time.Duration
	// CacheSize is how many verified tokens are remembered.
	CacheSize int
}

// StaticConfig is the runtime that the static backend plays.
type StaticConfig struct {
	State      string
	Transition time.Duration
	// Details is a compact JSON object.
	Details json.RawMessage
}

// StatusConfig is the life of a status snapshot.
type StatusConfig struct {
	MaxAge        time.Duration
	Refresh       time.Duration // at rest
	RefreshMoving time.Duration // between two resting states
}

// ServerConfig is the limits of the public listener.
type ServerConfig struct {
	ReadTimeout    time.Duration
	WriteTimeout   time.Duration
	IdleTimeout    time.Duration
	MaxConnections int
	// HeaderBytes bounds the request line and all headers together.
	HeaderBytes int
}

// LimitsConfig bounds writes; zero WritesPerSecond is no bound.
type LimitsConfig struct {
	WritesInFlight  int
	WritesPerSecond int // for each subject
}

// ShutdownConfig is the order of ending.
type ShutdownConfig struct {
	// Delay passes between an unready /readyz and closed listeners.
	Delay time.Duration
	// Timeout bounds what requests in flight get after that.
	Timeout time.Duration
}

// AdminConfig is the listener for operators.
type AdminConfig struct {
	// Addr is as Config.Addr; empty turns it off.
	Addr  string
	Pprof bool
}

// LogConfig is what is logged and how.
type LogConfig struct {
	Level  slog.Level
	Format string
}

// NeedsEvents reports whether any of the three backends talks to Events.
func (c *Config) NeedsEvents() bool {
	return c.Backend == Events || c.Billing.Backend == Events || c.Usage.Backend == Events
}
