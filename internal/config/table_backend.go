package config

import (
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

func backends() []Setting {
	return []Setting{
		{
			Key: keyBackend, Flag: "backend", Env: "BUS_VM_BACKEND", Default: Static, Group: GroupBackend,
			Usage: "Who answers for the runtime: a static one for local checks, or the real one through Bus Events.",
			kind:  choice(func(c *Config, word string) { c.Backend = word }, Static, Events),
		},
		{
			Key: keyBillingBackend, Flag: "billing-backend", Env: "BUS_VM_BILLING_BACKEND", Default: None, Group: GroupBackend,
			Usage: "Whether billing is asked before each start and stop.",
			kind:  choice(func(c *Config, word string) { c.Billing.Backend = word }, None, Events),
		},
		{
			Key: keyUsageBackend, Flag: "usage-backend", Env: "BUS_VM_USAGE_BACKEND", Default: None, Group: GroupBackend,
			Usage: "Where usage records of starts and stops go.",
			kind:  choice(func(c *Config, word string) { c.Usage.Backend = word }, None, Events, Memory),
		},
		{
			Key: "usage.max_records", Env: "BUS_VM_USAGE_MAX_RECORDS", Default: "100000", Group: GroupBackend,
			Usage: "Usage records kept for delivery; beyond that, starts and stops are refused.",
			kind:  count(1, 100_000_000, func(c *Config) *int { return &c.Usage.MaxRecords }),
		},
		{
			Key: "timeout", Flag: "timeout", Env: "BUS_VM_TIMEOUT", Default: "30s", Group: GroupBackend,
			Usage: "How long one request through Events may wait for its reply.",
			kind:  duration(shortest, longest, func(c *Config) *time.Duration { return &c.Timeout }),
		},
	}
}

func events() []Setting {
	return []Setting{
		{
			Key: keyEventsURL, Flag: "events-url", Env: "BUS_EVENTS_API_URL", Group: GroupEvents,
			Usage: "Bus Events API: its root, or its collection ending in /api/v1/events; over plain http its token can be read on the way.",
			kind:  text("url", plainURL, func(c *Config) *string { return &c.Events.URL }),
		},
		{
			Key: keyEventsToken, Env: "BUS_API_TOKEN", Secret: true, Group: GroupEvents,
			Reload: ReloadRefused,
			Usage:  "The provider's own token towards Events.",
			kind:   credential("a token", func(c *Config) *secret.String { return &c.Events.Token }),
		},
		{
			Key: keyEventsTokenFile, Flag: "token-file", Env: "BUS_API_TOKEN_FILE", Ambient: ambientTokenFile, Group: GroupEvents,
			Reload: ReloadContent,
			Usage:  "File of that token, read again when it changes; wins over the setting above.",
			kind:   text("file", "a readable file", func(c *Config) *string { return &c.Events.TokenFile }),
		},
		{
			Key: "events.listener_required", Env: "BUS_EVENTS_LISTENER_REQUIRED", Default: "false", Group: GroupEvents,
			Usage: "Whether /readyz is unhealthy until every response stream is up.",
			kind:  boolean(func(c *Config) *bool { return &c.Events.ListenerRequired }),
		},
		{
			Key: "events.listener_retry", Env: "BUS_EVENTS_LISTENER_RETRY", Default: "true", Group: GroupEvents,
			Usage: "Whether a lost response stream is opened again.",
			kind:  boolean(func(c *Config) *bool { return &c.Events.ListenerRetry }),
		},
		{
			Key: keyRetryMin, Env: "BUS_EVENTS_LISTENER_RETRY_MIN", Default: "1s", Group: GroupEvents,
			Usage: "Shortest wait before a lost stream is opened again.",
			kind:  duration(shortest, longest, func(c *Config) *time.Duration { return &c.Events.ListenerRetryMin }),
		},
		{
			Key: keyRetryMax, Env: "BUS_EVENTS_LISTENER_RETRY_MAX", Default: "30s", Group: GroupEvents,
			Usage: "Longest wait before a lost stream is opened again.",
			kind:  duration(shortest, longest, func(c *Config) *time.Duration { return &c.Events.ListenerRetryMax }),
		},
		{
			Key: "events.token_refresh", Env: "BUS_EVENTS_TOKEN_REFRESH", Default: "false", Group: GroupEvents,
			Usage: "Whether a refused token is read again and retried instead of ending the process.",
			kind:  boolean(func(c *Config) *bool { return &c.Events.TokenRefresh }),
		},
		{
			Key: "events.late_reply", Flag: "late-reply", Env: "BUS_VM_LATE_REPLY", Default: "2m", Group: GroupEvents,
			Usage: "How long after a start or stop was given up a late reply still completes its usage record.",
			kind:  duration(0, longest, func(c *Config) *time.Duration { return &c.Events.LateReply }),
		},
	}
}

func status() []Setting {
	return []Setting{
		{
			Key: keyMaxAge, Env: "BUS_VM_STATUS_MAX_AGE", Default: "10s", Group: GroupStatus,
			Usage: "Oldest status that is still shown.",
			kind:  duration(shortest, longest, func(c *Config) *time.Duration { return &c.Status.MaxAge }),
		},
		{
			Key: keyRefresh, Env: "BUS_VM_STATUS_REFRESH", Default: "2s", Group: GroupStatus,
			Usage: "How often a status that is read is refreshed while the runtime rests.",
			kind:  duration(shortest, longest, func(c *Config) *time.Duration { return &c.Status.Refresh }),
		},
		{
			Key: keyRefreshMoving, Env: "BUS_VM_STATUS_REFRESH_MOVING", Default: "500ms", Group: GroupStatus,
			Usage: "The same while the runtime starts or stops.",
			kind:  duration(shortest, longest, func(c *Config) *time.Duration { return &c.Status.RefreshMoving }),
		},
	}
}
