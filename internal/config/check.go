package config

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/busdk/bus-api-provider-vm/internal/address"
	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/jwks"
	"github.com/busdk/bus-api-provider-vm/internal/nearest"
)

// The keys that the code speaks of more than once.
const (
	keyConfig          = "config"
	keyDev             = "dev"
	keyAddr            = "addr"
	keyDataDir         = "data_dir"
	keyBackend         = "backend"
	keyUsageBackend    = "usage.backend"
	keyEventsURL       = "events.url"
	keyEventsToken     = "events.token"
	keyEventsTokenFile = "events.token_file"
	keyJWTSecret       = "jwt.secret"
	keyJWTSecretFile   = "jwt.secret_file"
	keyJWKSFile        = "jwt.jwks_file"
	keyJWKSURL         = "jwt.jwks_url"
	keyAudiences       = "jwt.audiences"
	keyAdminAddr       = "admin.addr"
)

// refuse reports the value of a setting, with its place.
func (c *Config) refuse(found *Error, key, format string, args ...any) {
	found.add(key, c.origin.at(key).Place, format, args...)
}

// check applies the rules between settings.
func (c *Config) check(found *Error) {
	c.checkListeners(found)
	c.checkEvents(found)
	c.checkSecrets(found, "verify tokens with", ", or --jwks-file or --jwks-url for public keys")
	c.checkJWKS(found)
	for _, order := range [][2]string{
		{"events.listener_retry_min", "events.listener_retry_max"}, {"status.refresh", "status.max_age"}, {"status.refresh_moving", "status.max_age"},
	} {
		low, high := c.origin.at(order[0]), c.origin.at(order[1])
		least, ok := ParseDuration(low.Text)
		if most, alsoOK := ParseDuration(high.Text); ok && alsoOK && least > most {
			c.refuse(found, low.Key, "%s is more than %s, which is %s (%s)", low.Text, high.Key, high.Text, high.Place)
		}
	}
}

// checkListeners finds what would end a start later, and what --dev forbids.
func (c *Config) checkListeners(found *Error) {
	const local = "; want a loopback address or a unix socket"
	if c.Dev && !address.IsLoopback(c.Addr) {
		c.refuse(found, keyAddr, "%s is not accepted with --dev, whose secret everybody knows"+local, quote(c.Addr))
	}
	if c.Dev && c.Admin.Addr != "" && !address.IsLoopback(c.Admin.Addr) {
		c.refuse(found, keyAdminAddr, "%s is not accepted with --dev"+local, quote(c.Admin.Addr))
	}
	if c.Dev && c.Backend != Static {
		c.refuse(found, keyBackend, "%s is not accepted with --dev; want %s", c.Backend, Static)
	}
	if address.Overlap(c.Addr, c.Admin.Addr) {
		c.refuse(found, keyAdminAddr, "%s is taken by %s, which is %s (%s)", quote(c.Admin.Addr), keyAddr, quote(c.Addr), c.origin.at(keyAddr).Place)
	}
	_, isUnix := address.Socket(c.Addr)
	_, adminIsUnix := address.Socket(c.Admin.Addr)
	if c.Socket.Group == "" || !isUnix && !adminIsUnix {
		return
	}
	if _, err := address.GroupID(c.Socket.Group); err != nil {
		c.refuse(found, "socket.group", "this machine has no group %s", quote(c.Socket.Group))
	}
}

// checkEvents asks for what Events needs. Where nothing needs Events, the names
// that the dispatcher sets for every process are not judged.
func (c *Config) checkEvents(found *Error) {
	var users []string
	for _, user := range [][2]string{{keyBackend, c.Backend}, {"billing.backend", c.Billing.Backend}, {keyUsageBackend, c.Usage.Backend}} {
		if user[1] == Events {
			users = append(users, user[0])
		}
	}
	needed := "is needed by " + strings.Join(users, ", ") + " = " + Events
	_, err := events.CollectionURL(c.Events.URL)
	switch {
	case c.Events.URL == "" && c.NeedsEvents():
		found.add(keyEventsURL, "", "%s; set --events-url, BUS_EVENTS_API_URL or the key in the file", needed)
	case c.Events.URL != "" && err != nil && (c.NeedsEvents() || c.origin.at(keyEventsURL).Layer != layerEnv):
		c.refuse(found, keyEventsURL, "is not accepted; want %s", setting(keyEventsURL).Allowed) // not repeated: it may hold a password
	}
	switch file := c.Events.TokenFile; {
	case !c.NeedsEvents():
	case file == "" && c.Events.Token.IsZero():
		needed += "; set BUS_API_TOKEN, --token-file or BUS_API_TOKEN_FILE"
		if name := setting(keyEventsTokenFile).Ambient; c.origin.input.variable(name) != "" {
			needed += " (" + name + " names a file that does not exist)"
		}
		found.add(keyEventsToken, "", "%s", needed)
	case file != "" && !exists(file):
		c.refuse(found, keyEventsTokenFile, "the file does not exist or cannot be reached; want a file that holds the provider's token")
	}
}

// checkSecrets refuses two places for one secret, and none where one is needed
// for purpose; instead is what else would do, empty for nothing.
func (c *Config) checkSecrets(found *Error, purpose, instead string) {
	plain, file := c.origin.given(keyJWTSecret), c.origin.given(keyJWTSecretFile)
	switch {
	case plain && file:
		c.refuse(found, keyJWTSecretFile, "want either this or %s (%s), not both", keyJWTSecret, c.origin.at(keyJWTSecret).Place)
		return
	case !plain && !file && (!c.hasPublicKeys() || instead == ""):
		found.add(keyJWTSecret, "", "no secret to %s; set BUS_VM_JWT_SECRET, or --jwt-secret-file or BUS_VM_JWT_SECRET_FILE%s; for local checks use --dev", purpose, instead)
		return
	}
	secrets, err := c.JWTSecrets()
	if wrong := (*Error)(nil); errors.As(err, &wrong) {
		c.refuse(found, wrong.Problems[0].Key, "%s", wrong.Problems[0].Text)
	}
	c.Warnings = append(c.Warnings, c.SecretWarnings(secrets)...)
}

// checkJWKS reads a file of public keys, and looks at a URL without asking it.
func (c *Config) checkJWKS(found *Error) {
	if c.JWT.JWKSFile != "" && c.JWT.JWKSURL != "" {
		c.refuse(found, keyJWKSURL, "want either this or %s (%s), not both", keyJWKSFile, c.origin.at(keyJWKSFile).Place)
	}
	if _, err := jwks.ReadFile(c.JWT.JWKSFile); c.JWT.JWKSFile != "" && err != nil {
		c.refuse(found, keyJWKSFile, "no public keys in the file: %v", err)
	}
	if err := jwks.CheckURL(c.JWT.JWKSURL); c.JWT.JWKSURL != "" && err != nil {
		c.refuse(found, keyJWKSURL, "is not accepted; %v", err)
	}
}

// hasPublicKeys reports whether tokens may be signed with a private key.
func (c *Config) hasPublicKeys() bool { return c.JWT.JWKSFile != "" || c.JWT.JWKSURL != "" }

// warn collects what is allowed and unwise.
func (c *Config) warn() {
	warn := func(words ...string) { c.Warnings = append(c.Warnings, strings.Join(words, "")) }
	if names := c.origin.input.unknownNames(); len(names) > 0 {
		warn("the environment has names that no setting knows: ", strings.Join(names, ", "), "; correct them, or take them out: they change nothing")
	}
	if u, err := url.Parse(c.Events.URL); c.NeedsEvents() && err == nil && u.Scheme == "http" && !address.IsLoopbackHost(strings.ToLower(u.Hostname())) {
		warn(keyEventsURL, " is plain http to ", u.Host, ": the provider's token can be read on the way; use https, or a network that is yours alone")
	}
	if c.Backend == Static && !address.IsLoopback(c.Addr) {
		warn("backend static answers for no real machine, and ", c.Addr, " can be reached by other machines")
	}
	if c.Admin.Addr != "" && !address.IsLoopback(c.Admin.Addr) {
		warn(keyAdminAddr, " ", c.Admin.Addr, " can be reached by other machines, and asks for no token; ",
			"use a loopback address or a unix socket, or let a firewall decide who may")
	}
}

// unknownNames lists what in the environment looks like a setting of this
// service and is none, each with what it may stand for.
func (in Input) unknownNames() (unknown []string) {
	var known []string
	for _, s := range table() {
		known = append(known, s.Env)
	}
	for _, each := range in.Environ {
		name, _, _ := strings.Cut(each, "=")
		if !strings.HasPrefix(name, "BUS_VM_") || slices.Contains(known, name) {
			continue
		}
		if near := nearest.Name(name, known); near != "" {
			name += " (did you mean " + near + "?)"
		}
		unknown = append(unknown, name)
	}
	slices.Sort(unknown)
	return slices.Compact(unknown)
}
