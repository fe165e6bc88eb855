package config

import (
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/busdk/bus-api-provider-vm/internal/address"
	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/files"
	"github.com/busdk/bus-api-provider-vm/internal/jwks"
	"github.com/busdk/bus-api-provider-vm/internal/secret"
	"github.com/busdk/bus-api-provider-vm/internal/token"
)

// check applies the rules between settings.
func (c *Config) check() {
	c.checkListeners()
	c.checkEvents()
	c.checkSecrets("verify tokens with", ", or --jwks-file or --jwks-url for public keys")
	c.checkJWKS()
	c.checkStore()
	for _, order := range [][2]string{
		{"events.listener_retry_min", "events.listener_retry_max"}, {"status.refresh", "status.max_age"}, {"status.refresh_moving", "status.max_age"},
	} {
		low, high := c.origin.at(order[0]), c.origin.at(order[1])
		least, ok := ParseDuration(low.Text)
		if most, alsoOK := ParseDuration(high.Text); ok && alsoOK && least > most {
			c.origin.refuse(low.Key, "%s is more than %s, which is %s (%s)", low.Text, high.Key, high.Text, high.Place)
		}
	}
}

// checkListeners finds what would end a start later, and what --dev forbids.
func (c *Config) checkListeners() {
	refuse := c.origin.refuse
	for _, listener := range [][2]string{{"addr", c.Addr}, {"admin.addr", c.Admin.Addr}} {
		if c.Dev && !address.IsLoopback(listener[1]) {
			refuse(listener[0], "%.80q is not accepted with --dev, whose secret everybody knows; want a loopback address or a unix socket", listener[1])
		}
	}
	if c.Dev && c.Backend != Static {
		refuse("backend", "%s is not accepted with --dev; want %s", c.Backend, Static)
	}
	if _, isUnix := address.Socket(c.Addr); c.Socket.Group == "" || !isUnix {
		return // groups may be looked up over a network
	}
	if _, err := address.GroupID(c.Socket.Group); err != nil {
		refuse("socket.group", "this machine has no group %.80q", c.Socket.Group)
	}
}

// checkEvents asks for what Events needs. Where nothing needs Events, the names
// that the dispatcher sets for every process are not judged.
func (c *Config) checkEvents() {
	chosen := c.NeedsEvents() || c.origin.at("events.url").Layer != layerEnv
	if _, err := events.CollectionURL(c.Events.URL); err != nil && c.Events.URL != "" && chosen {
		c.origin.refuse("events.url", "is not accepted; want %s", setting("events.url").Allowed) // not repeated: it may hold a password
	}
	if !c.NeedsEvents() {
		return
	}
	var users []string
	for _, user := range [][2]string{{"backend", c.Backend}, {"billing.backend", c.Billing.Backend}, {"usage.backend", c.Usage.Backend}} {
		if user[1] == Events {
			users = append(users, user[0])
		}
	}
	needed := "is needed by " + strings.Join(users, ", ") + " = " + Events
	if c.Events.URL == "" {
		c.origin.found.Add("events.url", "", "%s; set --events-url, BUS_EVENTS_API_URL or the key in the file", needed)
	}
	switch file := c.Events.TokenFile; {
	case file == "" && c.Events.Token.IsZero():
		needed += "; set BUS_API_TOKEN, --token-file or BUS_API_TOKEN_FILE, or write " + PackageDir + "/api-token"
		if _, place := c.origin.input.environment(setting("events.token_file").Ambient); place != "" {
			needed += " (" + place + " names a file that does not exist)"
		}
		c.origin.found.Add("events.token", "", "%s", needed)
	case file != "":
		if _, err := files.Read(file, 1); err != nil {
			c.origin.refuse("events.token_file", "the file cannot be read: %w; want a file that holds the provider's token", err)
		}
	}
}

// checkSecrets refuses two places for one secret, and none where one is needed
// for purpose; instead is what else would do, empty for nothing.
func (c *Config) checkSecrets(purpose, instead string) {
	plain, file := c.origin.given("jwt.secret"), c.origin.given("jwt.secret_file")
	switch {
	case plain && file:
		c.origin.refuse("jwt.secret_file", "want either this or jwt.secret (%s), not both", c.origin.at("jwt.secret").Place)
		return
	case !plain && !file && (!c.hasPublicKeys() || instead == ""):
		c.origin.found.Add("jwt.secret", "", "no secret to %s; set BUS_VM_JWT_SECRET, or --jwt-secret-file or BUS_VM_JWT_SECRET_FILE, or write %s/jwt-secret%s; for local checks use --dev", purpose, PackageDir, instead)
		return
	}
	secrets, err := c.JWTSecrets()
	c.origin.adopt(err)
	c.Warnings = append(c.Warnings, c.SecretWarnings(secrets)...)
}

// checkJWKS reads a file of public keys, and looks at a URL without asking it.
func (c *Config) checkJWKS() {
	if c.JWT.JWKSFile != "" && c.JWT.JWKSURL != "" {
		c.origin.refuse("jwt.jwks_url", "want either this or jwt.jwks_file (%s), not both", c.origin.at("jwt.jwks_file").Place)
	}
	if _, err := jwks.ReadFile(c.JWT.JWKSFile); c.JWT.JWKSFile != "" && err != nil {
		c.origin.refuse("jwt.jwks_file", "no public keys in the file: %w", err)
	}
	if err := jwks.CheckURL(c.JWT.JWKSURL); c.JWT.JWKSURL != "" && err != nil {
		c.origin.refuse("jwt.jwks_url", "is not accepted; %w", err)
	}
}

// passwordFirst finds a password in front of the hosts of a URL, even of one that cannot
// be parsed, without its scheme.
var passwordFirst = regexp.MustCompile(`^([^?]*:[^?]*|[^/]*:[^/]*)@`)

// checkStore looks at the URL of the store, which may hold a password and is never
// repeated.
func (c *Config) checkStore() {
	at := c.origin.at("store.url")
	_, rest, _ := strings.Cut(at.Text, "://")
	plain, err := url.QueryUnescape(rest)
	if at.Layer == layerFlag && (err != nil || passwordFirst.MatchString(rest) || strings.Contains(strings.ToLower(plain), "password=")) {
		c.origin.refuse("store.url", "has a password, and every user of this machine can read command lines; set %s or %s",
			setting("store.url").Env, setting("store.url_file").Env)
		return
	}
	address, err := c.StoreURL()
	c.Warnings = append(c.Warnings, oddText(at.Key, address.Reveal())...)
	c.origin.adopt(err)
}

// StoreURL returns the URL of the store, empty for none. A file is read each time.
// Errors name the setting, never its value.
func (c *Config) StoreURL() (secret.String, error) {
	key, found := "store.url", c.Store.URL
	if c.Store.URLFile != "" {
		key = "store.url_file"
		lines, err := token.ReadSecrets(c.Store.URLFile)
		if err == nil && len(lines) > 1 {
			err = errors.New("the file holds more than one URL")
		}
		if err != nil {
			return secret.String{}, Refuse(key, "%w", err)
		}
		found = secret.New(string(lines[0]))
	}
	// With several hosts it is no URL to Go.
	scheme, _, _ := strings.Cut(found.Reveal(), "://")
	if !found.IsZero() && scheme != "postgres" && scheme != "postgresql" {
		return secret.String{}, Refuse(key, "is not accepted; want %s", setting("store.url").Allowed)
	}
	return found, nil
}

// hasPublicKeys reports whether tokens may be signed with a private key.
func (c *Config) hasPublicKeys() bool { return c.JWT.JWKSFile != "" || c.JWT.JWKSURL != "" }

// warn collects what is allowed and unwise.
func (c *Config) warn() {
	warn := func(words ...string) { c.Warnings = append(c.Warnings, strings.Join(words, "")) }
	var known []string
	for _, s := range Settings() {
		known = append(known, s.Env)
	}
	for _, each := range slices.Sorted(slices.Values(c.origin.input.Environ)) {
		if name, _, _ := strings.Cut(each, "="); strings.HasPrefix(name, "BUS_VM_") && !slices.Contains(known, name) {
			warn("the environment has ", name, ", which is no setting and changes nothing", Suggest(name, known))
		}
	}
	if u, err := url.Parse(c.Events.URL); c.NeedsEvents() && err == nil && u.Scheme == "http" && !address.IsLoopbackHost(strings.ToLower(u.Hostname())) {
		warn("events.url is plain http to ", u.Host, ": the provider's token can be read on the way; use https, or a network that is yours alone")
	}
	if c.Backend == Static && !address.IsLoopback(c.Addr) {
		warn("backend static answers for no real machine, and ", c.Addr, " can be reached by other machines")
	}
	if !address.IsLoopback(c.Admin.Addr) {
		warn("admin.addr ", c.Admin.Addr, " can be reached by other machines, and asks for no token; ",
			"use a loopback address or a unix socket, or let a firewall decide who may")
	}
}
