package config

import "time"

func shutdown() []Setting {
	return []Setting{
		{
			Key: "shutdown.delay", Flag: "shutdown-delay", Env: "BUS_VM_SHUTDOWN_DELAY", Default: "0s", Group: GroupShutdown,
			Usage: "Pause after /readyz turned unready, for the balancer to notice.",
			kind:  duration(0, longest, func(c *Config) *time.Duration { return &c.Shutdown.Delay }),
		},
		{
			Key: "shutdown.timeout", Flag: "shutdown-timeout", Env: "BUS_VM_SHUTDOWN_TIMEOUT", Default: "70s", Group: GroupShutdown,
			Usage: "How long requests in flight may take to finish after that.",
			kind:  duration(shortest, longest, func(c *Config) *time.Duration { return &c.Shutdown.Timeout }),
		},
	}
}

func admin() []Setting {
	return []Setting{
		{
			Key: keyAdminAddr, Flag: "admin-addr", Env: "BUS_VM_ADMIN_ADDR", Group: GroupAdmin,
			Usage: "Address of metrics and health for operators; keep it on loopback or a unix socket.",
			kind:  listenAddress(true, func(c *Config) *string { return &c.Admin.Addr }),
		},
		{
			Key: "admin.pprof", Env: "BUS_VM_ADMIN_PPROF", Default: "false", Group: GroupAdmin,
			Usage: "Whether the admin listener serves profiles under /debug/pprof/.",
			kind:  boolean(func(c *Config) *bool { return &c.Admin.Pprof }),
		},
	}
}

func logging() []Setting {
	return []Setting{
		{
			Key: keyLogLevel, Flag: "log-level", Env: "BUS_VM_LOG_LEVEL", Default: "info", Group: GroupLog,
			Reload: ReloadFile,
			Usage:  "Least important lines that are logged.",
			Presets: []Preset{
				{Flag: "verbose", Short: "v", Value: "debug", Usage: "Same as --log-level debug."},
				{Flag: "quiet", Value: "error", Usage: "Same as --log-level error."},
			},
			kind: choice(func(c *Config, word string) {
				if err := c.Log.Level.UnmarshalText([]byte(word)); err != nil {
					panic("BUG: the words of log.level are levels of slog: " + err.Error())
				}
			}, "debug", "info", "warn", "error"),
		},
		{
			Key: "log.format", Flag: "log-format", Env: "BUS_VM_LOG_FORMAT", Default: LogText, Group: GroupLog,
			Usage: "Form of the log.",
			kind:  choice(func(c *Config, word string) { c.Log.Format = word }, LogText, LogJSON),
		},
	}
}
