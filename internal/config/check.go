package config

import (
	"net/url"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/address"
)

// check applies the rules between settings.
func (c *Config) check(found *problems) {
	c.checkDev(found)
	c.checkListeners(found)
	c.checkEvents(found)
	c.checkJWT(found)
	c.checkOrder(found, keyRetryMin, c.Events.ListenerRetryMin, keyRetryMax, c.Events.ListenerRetryMax)
	c.checkOrder(found, keyRefresh, c.Status.Refresh, keyMaxAge, c.Status.MaxAge)
	c.checkOrder(found, keyRefreshMoving, c.Status.RefreshMoving, keyMaxAge, c.Status.MaxAge)
}

func (c *Config) checkOrder(found *problems, lowKey string, low time.Duration, highKey string, high time.Duration) {
	if low > high {
		found.add(lowKey, c.origin.values.source(lowKey).name, "%s is more than %s, which is %s (%s)",
			brief(low), highKey, brief(high), c.origin.values.source(highKey))
	}
}

func (c *Config) checkDev(found *problems) {
	if !c.Dev {
		return
	}
	if !address.IsLoopback(c.Addr) {
		found.add(keyAddr, c.origin.values.source(keyAddr).name,
			"%s is not accepted with --dev, whose secret everybody knows; want a loopback address or a unix socket", quote(c.Addr))
	}
	if c.Admin.Addr != "" && !address.IsLoopback(c.Admin.Addr) {
		found.add(keyAdminAddr, c.origin.values.source(keyAdminAddr).name,
			"%s is not accepted with --dev; want a loopback address or a unix socket", quote(c.Admin.Addr))
	}
	if c.Backend != Static {
		found.add(keyBackend, c.origin.values.source(keyBackend).name, "%s is not accepted with --dev; want %s", c.Backend, Static)
	}
}

// checkListeners finds what would end a start later.
func (c *Config) checkListeners(found *problems) {
	if address.Overlap(c.Addr, c.Admin.Addr) {
		found.add(keyAdminAddr, c.origin.values.source(keyAdminAddr).name, "%s is taken by %s, which is %s (%s)",
			quote(c.Admin.Addr), keyAddr, quote(c.Addr), c.origin.values.source(keyAddr))
	}
	_, isUnix := address.Socket(c.Addr)
	_, adminIsUnix := address.Socket(c.Admin.Addr)
	if c.Socket.Group == "" || !isUnix && !adminIsUnix {
		return
	}
	if _, err := address.GroupID(c.Socket.Group); err != nil {
		found.add(keySocketGroup, c.origin.values.source(keySocketGroup).name, "this machine has no group %s", quote(c.Socket.Group))
	}
}

// checkEvents asks for what Events needs. Where nobody needs Events, the names
// that the dispatcher sets for every process are not judged.
func (c *Config) checkEvents(found *problems) {
	source := c.origin.values.source(keyEventsURL)
	needed := c.NeedsEvents()
	switch url := c.origin.values.text(keyEventsURL); {
	case url == "" && needed:
		found.add(keyEventsURL, "", "is needed by %s; set --events-url, BUS_EVENTS_API_URL or the key in the file", c.eventsUsers())
	case url != "" && !isPlainURL(url) && (needed || source.layer != layerEnv):
		// Not repeated: it may hold a password.
		found.add(keyEventsURL, source.name, "is not accepted; want %s", plainURL)
	}
	if !needed {
		return
	}
	file := c.Events.TokenFile
	switch {
	case file == "" && c.Events.Token.IsZero():
		text := "is needed by " + c.eventsUsers() + "; set BUS_API_TOKEN, --token-file or BUS_API_TOKEN_FILE"
		if c.origin.input.getenv(ambientTokenFile) != "" {
			text += " (" + ambientTokenFile + " names a file that does not exist)"
		}
		found.add(keyEventsToken, "", "%s", text)
	case file != "" && !exists(file):
		found.add(keyEventsTokenFile, c.origin.values.source(keyEventsTokenFile).name, "the file does not exist or cannot be reached; want a file that holds the provider's token")
	}
}

// eventsUsers names the settings that need Events.
func (c *Config) eventsUsers() string {
	var users []string
	for _, backend := range [][2]string{
		{keyBackend, c.Backend}, {keyBillingBackend, c.Billing.Backend}, {keyUsageBackend, c.Usage.Backend},
	} {
		if backend[1] == Events {
			users = append(users, backend[0])
		}
	}
	return strings.Join(users, ", ") + " = " + Events
}

// warn collects what is allowed and unwise.
func (c *Config) warn() {
	if names := c.origin.input.strangers(); len(names) > 0 {
		c.Warnings = append(c.Warnings, "the environment has names that no setting knows: "+strings.Join(names, ", ")+"; correct them, or take them out: they change nothing")
	}
	if host := c.plainEventsHost(); c.NeedsEvents() && host != "" {
		c.Warnings = append(c.Warnings, keyEventsURL+" is plain http to "+host+": the provider's token can be read on the way; use https, or a network that is yours alone")
	}
	if c.Backend == Static && !address.IsLoopback(c.Addr) {
		c.Warnings = append(c.Warnings, "backend static answers for no real machine, and "+c.Addr+" can be reached by other machines")
	}
	if c.Admin.Addr != "" && !address.IsLoopback(c.Admin.Addr) {
		c.Warnings = append(c.Warnings, keyAdminAddr+" "+c.Admin.Addr+" can be reached by other machines, and asks nobody who they are; "+
			"use a loopback address or a unix socket, or let a firewall decide who may")
	}
}

// plainEventsHost is the host that an http URL of Events leads to on another
// machine; empty for https and for this machine.
func (c *Config) plainEventsHost() string {
	u, err := url.Parse(c.Events.URL)
	if err != nil || u.Scheme != "http" || address.IsLoopbackHost(strings.ToLower(u.Hostname())) {
		return ""
	}
	return u.Host
}
