package config

// Reload reads everything anew with the flags and the environment of the
// first Load. On an error c stays what it was.
func (c *Config) Reload() (*Config, error) { return Load(c.origin.input) }

// NeedRestart lists the keys of the settings that differ in next and that a
// running service does not follow.
func (c *Config) NeedRestart(next *Config) (keys []string) {
	for _, s := range Settings() {
		followed := s.Reload == ReloadFile || s.Reload == ReloadBoth || s.Reload == ReloadRefused && c.Events.TokenRefresh
		if !followed && c.origin.values.text(s.Key) != next.origin.values.text(s.Key) {
			keys = append(keys, s.Key)
		}
	}
	return keys
}
