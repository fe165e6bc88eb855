package config

import (
	"encoding/json"
	"os"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

// The tables follow the groups. A row's Usage is for someone who meets the
// setting for the first time; config.yaml says why one would change it.

func general() []Setting {
	return []Setting{
		{
			Key: keyConfig, NotInFile: true, Flag: "config", Env: "BUS_VM_CONFIG", Group: GroupGeneral,
			Usage: "YAML file of settings; environment and flags win over it.",
			kind:  text("file", "a readable YAML file", func(c *Config) *string { return &c.File }),
		},
		{
			Key: keyDev, NotInFile: true, Flag: "dev", Default: "false", Group: GroupGeneral,
			Usage: "Local start in one command: loopback only, static backend, usage in memory, a published JWT secret if none is set.",
			kind:  boolean(func(c *Config) *bool { return &c.Dev }),
		},
		{
			Key: keyDataDir, Flag: "data-dir", Env: "BUS_VM_DATA_DIR", Ambient: "STATE_DIRECTORY", Default: "./bus-vm-data", Group: GroupGeneral,
			Usage: "Directory of the durable usage outbox.",
			kind:  filled(text("directory", "a directory", func(c *Config) *string { return &c.DataDir })),
		},
	}
}

func listening() []Setting {
	return []Setting{
		{
			Key: keyAddr, Flag: "addr", Env: "BUS_VM_ADDR", Default: "127.0.0.1:8085", Group: GroupListen,
			Usage: "Address of the API.",
			kind:  listenAddress(false, func(c *Config) *string { return &c.Addr }),
		},
		{
			Key: "socket.mode", Flag: "socket-mode", Env: "BUS_VM_SOCKET_MODE", Default: "0660", Group: GroupListen,
			Usage: "File mode of a unix socket.",
			kind:  fileMode(func(c *Config) *os.FileMode { return &c.Socket.Mode }),
		},
		{
			Key: keySocketGroup, Flag: "socket-group", Env: "BUS_VM_SOCKET_GROUP", Group: GroupListen,
			Usage: "Group of a unix socket, so that nginx may connect to it.",
			kind:  text("group", "a group name or number; empty for the process's own", func(c *Config) *string { return &c.Socket.Group }),
		},
		{
			Key: "server.read_timeout", Env: "BUS_VM_READ_TIMEOUT", Default: "10s", Group: GroupListen,
			Usage: "How long a client may take to send one request.",
			kind:  duration(shortest, longest, func(c *Config) *time.Duration { return &c.Server.ReadTimeout }),
		},
		{
			Key: "server.write_timeout", Env: "BUS_VM_WRITE_TIMEOUT", Default: "10s", Group: GroupListen,
			Usage: "How long a client may take to read one reply.",
			kind:  duration(shortest, longest, func(c *Config) *time.Duration { return &c.Server.WriteTimeout }),
		},
		{
			Key: "server.idle_timeout", Env: "BUS_VM_IDLE_TIMEOUT", Default: "75s", Group: GroupListen,
			Usage: "How long a connection may rest between two requests.",
			kind:  duration(shortest, longest, func(c *Config) *time.Duration { return &c.Server.IdleTimeout }),
		},
		{
			Key: "server.max_connections", Env: "BUS_VM_MAX_CONNECTIONS", Default: "16384", Group: GroupListen,
			Usage: "Connections open at the same time.",
			kind:  count(1, 1<<20, func(c *Config) *int { return &c.Server.MaxConnections }),
		},
		{
			Key: "limits.writes_in_flight", Env: "BUS_VM_WRITES_IN_FLIGHT", Default: "4096", Group: GroupListen,
			Usage: "Start and stop requests under way at the same time; more get 503.",
			kind:  count(1, 1<<20, func(c *Config) *int { return &c.Limits.WritesInFlight }),
		},
		{
			Key: "limits.writes_per_second", Env: "BUS_VM_WRITES_PER_SECOND", Default: "0", Group: GroupListen,
			Usage: "Start and stop requests a second for each subject; more get 429. 0 is no limit.",
			kind:  count(0, 1<<20, func(c *Config) *int { return &c.Limits.WritesPerSecond }),
		},
		{
			Key: "server.header_bytes", Env: "BUS_VM_HEADER_BYTES", Default: "16384", Group: GroupListen,
			Usage: "Bytes of the request line and all headers together.",
			kind:  count(4096, 1<<20, func(c *Config) *int { return &c.Server.HeaderBytes }),
		},
	}
}

func tokens() []Setting {
	return []Setting{
		{
			Key: keyJWTSecret, Env: "BUS_VM_JWT_SECRET", Ambient: "BUS_API_JWT_SECRET", Secret: true, Group: GroupTokens,
			Reload: ReloadFile,
			Usage:  "HS256 secret that callers' tokens are verified with.",
			kind: credential("raw text, or base64: and the secret in base64; below 32 bytes with a warning",
				func(c *Config) *secret.String { return &c.JWT.Secret }),
		},
		{
			Key: keyJWTSecretFile, Flag: "jwt-secret-file", Env: "BUS_VM_JWT_SECRET_FILE", Ambient: "BUS_API_JWT_SECRET_FILE", Group: GroupTokens,
			Reload: ReloadBoth,
			Usage:  "File of such secrets, one a line, in place of the setting above: all verify, the first signs development tokens.",
			kind:   text("file", "a readable file", func(c *Config) *string { return &c.JWT.SecretFile }),
		},
		{
			Key: keyJWKSFile, Flag: "jwks-file", Env: "BUS_VM_JWKS_FILE", Group: GroupTokens,
			Reload: ReloadContent,
			Usage:  "JWKS file of public keys for RS256, ES256 and EdDSA tokens; with it, a secret is not needed.",
			kind:   text("file", "a readable file of JSON", func(c *Config) *string { return &c.JWT.JWKSFile }),
		},
		{
			Key: keyJWKSURL, Flag: "jwks-url", Env: "BUS_VM_JWKS_URL", Group: GroupTokens,
			Reload: ReloadContent,
			Usage:  "The same from a URL, fetched in the background; /readyz is unhealthy until the first keys are there.",
			kind:   text("url", "an https URL, or http on a loopback address, without user or fragment", func(c *Config) *string { return &c.JWT.JWKSURL }),
		},
		{
			Key: "jwt.leeway", Flag: "jwt-leeway", Env: "BUS_VM_JWT_LEEWAY", Default: "0s", Group: GroupTokens,
			Usage: "Tolerance on exp and nbf for clocks that disagree.",
			kind:  duration(0, time.Minute, func(c *Config) *time.Duration { return &c.JWT.Leeway }),
		},
		{
			Key: "jwt.cache_size", Env: "BUS_VM_JWT_CACHE_SIZE", Default: "65536", Group: GroupTokens,
			Usage: "Verified tokens that are remembered.",
			kind:  count(1, 1<<20, func(c *Config) *int { return &c.JWT.CacheSize }),
		},
	}
}

func static() []Setting {
	return []Setting{
		{
			Key: "static.state", Flag: "static-state", Env: "BUS_VM_STATIC_STATE", Default: "ready", Group: GroupStatic,
			Usage: "State that the static backend starts in.",
			kind:  filled(text("state", "a state such as ready, starting, stopped or unavailable", func(c *Config) *string { return &c.Static.State })),
		},
		{
			Key: "static.transition", Flag: "static-transition", Env: "BUS_VM_STATIC_TRANSITION", Default: "0s", Group: GroupStatic,
			Usage: "How long the static backend stays in starting and stopping.",
			kind:  duration(0, longest, func(c *Config) *time.Duration { return &c.Static.Transition }),
		},
		{
			Key: "static.details", Env: "BUS_VM_STATIC_DETAILS", Default: "{}", Group: GroupStatic,
			Usage: "Details that the static backend shows.",
			kind:  object(func(c *Config) *json.RawMessage { return &c.Static.Details }),
		},
	}
}
