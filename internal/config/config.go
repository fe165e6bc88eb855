// Package config is the one place where settings come from: the tags of Config
// are the table of them, koanf merges the layers they are read from.
//
// Load reads, from the weakest to the strongest: defaults, what --dev brings,
// files of the package, systemd credentials, ambient names of the platform, the
// YAML file, the environment, flags. Help and documents derive from the table.
package config

import (
	"log/slog"
	"os"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

// Modes of the three backends. Static is for Backend alone, Memory for Usage
// alone; the others can be none.
const (
	Static = "static"
	Events = "events"
	Memory = "memory"
)

// LogJSON is the form of Log for programs.
const LogJSON = "json"

// DevSecret is the published secret that --dev falls back to: anyone can sign
// tokens with it.
const DevSecret = "not-a-secret-local-development-hs256-key"

// Config is every setting, checked. Its tags are the table:
//
//	koanf    the name in the YAML file; the names on the way make the key
//	file     "-" for what cannot be in the file
//	group    the topic in the documents, for this field and those below it
//	flag     the long flag; secrets have none, command lines are readable
//	env      the environment name
//	ambient  a name that others set for every process: it counts only where
//	         the setting is set nowhere else; so does the systemd credential,
//	         and a file of that name, or of the tag packaged, in PackageDir
//	default  the text of an unset setting; without one, empty is allowed
//	min max  bounds of durations (1ms and 24h without them), counts and modes
//	oneof    the words that are allowed
//	want     what is allowed, where the type does not say it
//	value    stands for the value in help, where the type does not say it
//	reload   what a running service follows: "file", the value in the YAML file;
//	         "content", what it points at; "both"; "refused", the value once
//	         Events refuses it
//	help     one sentence; config.yaml says why one would change the setting
type Config struct {
	// File is the YAML file that was read, empty for none.
	File    string `koanf:"config" file:"-" packaged:"config.yaml" group:"General" flag:"--config" env:"BUS_VM_CONFIG" value:"file" want:"a readable YAML file" help:"YAML file of settings; environment and flags win over it."`
	Dev     bool   `koanf:"dev" file:"-" flag:"--dev" default:"false" help:"Local start in one command: loopback only, static backend, usage in memory, a published JWT secret if none is set."`
	DataDir string `koanf:"data_dir" flag:"--data-dir" env:"BUS_VM_DATA_DIR" ambient:"STATE_DIRECTORY" default:"./bus-vm-data" value:"directory" want:"a directory" help:"Directory of the operations store, where usage records must last."`

	Addr   string `koanf:"addr" group:"Listening" flag:"--addr" env:"BUS_VM_ADDR" default:"127.0.0.1:8085" value:"address" want:"host:port, or unix: and an absolute path of at most 107 bytes" help:"Address of the API."`
	Socket Socket `koanf:"socket"`
	Server Server `koanf:"server"`
	Limits struct {
		WritesInFlight  int `koanf:"writes_in_flight" env:"BUS_VM_WRITES_IN_FLIGHT" default:"4096" min:"1" max:"1048576" help:"Start and stop requests under way at the same time, shared out among subjects; more get 503."`
		WritesPerSecond int `koanf:"writes_per_second" env:"BUS_VM_WRITES_PER_SECOND" default:"0" min:"0" max:"1048576" help:"Start and stop requests a second for each subject; more get 429. 0 is no limit."`
	} `koanf:"limits"`

	Backend string `koanf:"backend" group:"Backends" flag:"--backend" env:"BUS_VM_BACKEND" default:"static" oneof:"static events" help:"Who answers for the runtime: a static one for local checks, or the real one through Bus Events."`
	Billing struct {
		Backend string `koanf:"backend" flag:"--billing-backend" env:"BUS_VM_BILLING_BACKEND" default:"none" oneof:"none events" help:"Whether billing is asked before each start and stop."`
	} `koanf:"billing"`
	Store struct {
		URL     secret.String `koanf:"url" flag:"--store-url" env:"BUS_VM_STORE_URL" want:"a postgres:// URL, on the command line without a password" help:"PostgreSQL database of operations, which replicas share; without it they are in the data directory, or in memory where nothing must last."`
		URLFile string        `koanf:"url_file" env:"BUS_VM_STORE_URL_FILE" credential:"store-url" value:"file" want:"a readable file" help:"File of that URL, on a line of its own."`
		Keep    time.Duration `koanf:"keep" env:"BUS_VM_STORE_KEEP" default:"720h" min:"24h" max:"87600h" help:"How long operations that have ended are kept."`
	} `koanf:"store"`
	Usage struct {
		Backend string `koanf:"backend" flag:"--usage-backend" env:"BUS_VM_USAGE_BACKEND" default:"none" oneof:"none events memory" help:"Where usage records of starts and stops go."`
	} `koanf:"usage"`
	Timeout time.Duration `koanf:"timeout" flag:"--timeout" env:"BUS_VM_TIMEOUT" default:"30s" help:"How long one request through Events may wait for its reply."`

	// Of Token and TokenFile at most one is set; exactly one when NeedsEvents.
	Events struct {
		URL              string        `koanf:"url" flag:"--events-url" env:"BUS_EVENTS_API_URL" value:"url" want:"an absolute http or https URL without user, query or fragment" help:"Bus Events API: its root, or its collection ending in /api/v1/events; over plain http its token can be read on the way."`
		Token            secret.String `koanf:"token" env:"BUS_API_TOKEN" want:"a token" reload:"refused" help:"The provider's own token towards Events."`
		TokenFile        string        `koanf:"token_file" flag:"--token-file" env:"BUS_API_TOKEN_FILE" ambient:"BUS_EVENTS_TOKEN_FILE" credential:"api-token" value:"file" want:"a readable file" reload:"content" help:"File of that token, read again when it changes; wins over the setting above."`
		ListenerRequired bool          `koanf:"listener_required" env:"BUS_EVENTS_LISTENER_REQUIRED" default:"false" help:"Whether /readyz is unhealthy while a response stream is down; without it readiness does not look at Events."`
		ListenerRetry    bool          `koanf:"listener_retry" env:"BUS_EVENTS_LISTENER_RETRY" default:"true" help:"Whether a lost response stream is opened again."`
		ListenerRetryMin time.Duration `koanf:"listener_retry_min" env:"BUS_EVENTS_LISTENER_RETRY_MIN" default:"1s" help:"Shortest wait before a lost stream is opened again."`
		ListenerRetryMax time.Duration `koanf:"listener_retry_max" env:"BUS_EVENTS_LISTENER_RETRY_MAX" default:"30s" help:"Longest wait before a lost stream is opened again."`
		TokenRefresh     bool          `koanf:"token_refresh" env:"BUS_EVENTS_TOKEN_REFRESH" default:"false" help:"Whether a refused token is read again and retried instead of ending the process."`
		LateReply        time.Duration `koanf:"late_reply" flag:"--late-reply" env:"BUS_VM_LATE_REPLY" default:"2m" min:"0s" help:"How long after a start or stop was given up a late reply still completes its usage record."`
	} `koanf:"events" group:"Bus Events"`
	// HS256 with the secrets of JWTSecrets, the other algorithms with public
	// keys. At most one of JWKSFile and JWKSURL is set; with one of them there
	// may be no secret.
	JWT struct {
		Secret     secret.String `koanf:"secret" env:"BUS_VM_JWT_SECRET" ambient:"BUS_API_JWT_SECRET" want:"raw text, or base64: and the secret in base64; below 32 bytes with a warning" reload:"file" help:"HS256 secret that callers' tokens are verified with."`
		SecretFile string        `koanf:"secret_file" flag:"--jwt-secret-file" env:"BUS_VM_JWT_SECRET_FILE" ambient:"BUS_API_JWT_SECRET_FILE" credential:"jwt-secret" value:"file" want:"a readable file" reload:"both" help:"File of such secrets, one a line, in place of the setting above: all verify, the first signs development tokens."`
		JWKSFile   string        `koanf:"jwks_file" flag:"--jwks-file" env:"BUS_VM_JWKS_FILE" value:"file" want:"a readable file of JSON" reload:"content" help:"JWKS file of public keys for RS256, ES256 and EdDSA tokens; with it, a secret is not needed."`
		JWKSURL    string        `koanf:"jwks_url" flag:"--jwks-url" env:"BUS_VM_JWKS_URL" value:"url" want:"an https URL, or http on a loopback address, without user or fragment" reload:"content" help:"The same from a URL, fetched in the background; /readyz is unhealthy until the first keys are there."`
		Audiences  []string      `koanf:"audiences" env:"BUS_VM_JWT_AUDIENCES" help:"Audiences of callers' tokens; a token must name one of them exactly."`
		Leeway     time.Duration `koanf:"leeway" flag:"--jwt-leeway" env:"BUS_VM_JWT_LEEWAY" default:"0s" min:"0s" max:"1m" help:"Tolerance on exp and nbf for clocks that disagree."`
	} `koanf:"jwt" group:"Callers' tokens"`
	Static struct {
		State      string        `koanf:"state" flag:"--static-state" env:"BUS_VM_STATIC_STATE" default:"ready" value:"state" want:"a state such as ready, starting, stopped or unavailable" help:"State that the static backend starts in."`
		Transition time.Duration `koanf:"transition" flag:"--static-transition" env:"BUS_VM_STATIC_TRANSITION" default:"0s" min:"0s" help:"How long the static backend stays in starting and stopping."`
	} `koanf:"static" group:"Static backend"`
	Status struct {
		MaxAge        time.Duration `koanf:"max_age" env:"BUS_VM_STATUS_MAX_AGE" default:"10s" help:"Oldest status that is still shown."`
		Refresh       time.Duration `koanf:"refresh" env:"BUS_VM_STATUS_REFRESH" default:"2s" help:"How often a status that is read is refreshed while the runtime rests."`
		RefreshMoving time.Duration `koanf:"refresh_moving" env:"BUS_VM_STATUS_REFRESH_MOVING" default:"500ms" help:"The same while the runtime starts or stops."`
	} `koanf:"status" group:"Status snapshot"`
	Wait struct {
		Max     time.Duration `koanf:"max" env:"BUS_VM_WAIT_MAX" default:"50s" min:"0s" max:"1h" help:"Longest wait of a request with Prefer: wait; those that ask for more get this."`
		Waiters int           `koanf:"waiters" env:"BUS_VM_WAIT_WAITERS" default:"1024" min:"1" max:"1048576" help:"Requests that may wait at the same time, shared out among subjects; more are answered at once."`
		Streams int           `koanf:"streams" env:"BUS_VM_WAIT_STREAMS" default:"1024" min:"1" max:"1048576" help:"Event streams open at the same time, shared out among subjects; more get 503."`
	} `koanf:"wait" group:"Waiting"`
	Shutdown Shutdown `koanf:"shutdown" group:"Shutting down"`
	Admin    struct {
		Addr  string `koanf:"addr" flag:"--admin-addr" env:"BUS_VM_ADMIN_ADDR" value:"address" want:"host:port, or unix: and an absolute path of at most 107 bytes; empty for none" help:"Address of the page, metrics and health for operators; keep it on loopback or a unix socket, which is for the service's own user alone."`
		Pprof bool   `koanf:"pprof" env:"BUS_VM_ADMIN_PPROF" default:"false" help:"Whether the admin listener serves profiles under /debug/pprof/."`
	} `koanf:"admin" group:"Admin listener"`
	Log struct {
		Level  slog.Level `koanf:"level" flag:"--log-level" env:"BUS_VM_LOG_LEVEL" default:"info" oneof:"debug info warn error" reload:"file" help:"Least important lines that are logged."`
		Format string     `koanf:"format" flag:"--log-format" env:"BUS_VM_LOG_FORMAT" default:"text" oneof:"text json" help:"Form of the log."`
		// Source adds the place in the source to each line: --trace.
		Source bool `koanf:"-"`
	} `koanf:"log" group:"Logging"`

	// Found are the files in PackageDir that count although nothing names them.
	Found string `koanf:"-"`
	// Warnings are for the operator's log: nothing is wrong, something is unwise.
	Warnings []string `koanf:"-"`

	// origin is a pointer so that printing a Config cannot print the
	// environment or a text that became a secret.
	origin *origin
}

// AdminSocket is what a unix socket of Admin is given: it asks for no token, so
// it is for the user of the service, and never for the group of nginx.
var AdminSocket = Socket{Mode: 0o600}

// Socket is what the unix socket of Addr is given.
type Socket struct {
	Mode  os.FileMode `koanf:"mode" flag:"--socket-mode" env:"BUS_VM_SOCKET_MODE" default:"0660" min:"0000" max:"0777" help:"File mode of the API's unix socket."`
	Group string      `koanf:"group" flag:"--socket-group" env:"BUS_VM_SOCKET_GROUP" value:"group" want:"a group name or number; empty for the process's own" help:"Group of the API's unix socket, so that nginx may connect to it."`
}

// Server bounds what a client of the API may cost.
type Server struct {
	ReadTimeout    time.Duration `koanf:"read_timeout" env:"BUS_VM_READ_TIMEOUT" default:"10s" help:"How long a client may take to send one request."`
	IdleTimeout    time.Duration `koanf:"idle_timeout" env:"BUS_VM_IDLE_TIMEOUT" default:"75s" help:"How long a connection may rest between two requests."`
	MaxConnections int           `koanf:"max_connections" env:"BUS_VM_MAX_CONNECTIONS" default:"16384" min:"1" max:"1048576" help:"Connections open at the same time."`
	HeaderBytes    int           `koanf:"header_bytes" env:"BUS_VM_HEADER_BYTES" default:"16384" min:"4096" max:"1048576" help:"Bytes of the request line and all headers together."`
}

// Shutdown is how the API ends.
type Shutdown struct {
	Delay   time.Duration `koanf:"delay" flag:"--shutdown-delay" env:"BUS_VM_SHUTDOWN_DELAY" default:"0s" min:"0s" help:"Pause after /readyz turned unready, for the balancer to notice."`
	Timeout time.Duration `koanf:"timeout" flag:"--shutdown-timeout" env:"BUS_VM_SHUTDOWN_TIMEOUT" default:"70s" help:"How long requests in flight may take to finish after that."`
}

// FileHoldsSecrets reports secrets in the YAML file, in force or not.
func (c *Config) FileHoldsSecrets() bool { return c.origin != nil && c.origin.fileSecrets }

// NeedsEvents reports whether any of the three backends talks to Events.
func (c *Config) NeedsEvents() bool {
	return c.Backend == Events || c.Billing.Backend == Events || c.Usage.Backend == Events
}
