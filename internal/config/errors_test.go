package config

import (
	"reflect"
	"strings"
	"testing"
)

func TestEverythingWrongIsReportedAtOnce(t *testing.T) {
	path := writeFile(t, "config.yaml", "adr: here\nstatus:\n  max_age: old\n")
	flags := NewFlagSet("test", AllFlags)
	usage := ParseFlags(flags, []string{"--nonsense=1", "--addr", "nowhere", "-v", "--quiet"})
	_, err := Load(Input{
		Flags: flags,
		Environ: []string{
			"BUS_VM_CONFIG=" + path, "BUS_VM_BACKEND=cloud", "BUS_VM_USAGE_BACKEND=events", "BUS_EVENTS_LISTENER_RETRY_MIN=1m",
		},
	})
	const duration = "such as 1m30s; a bare integer is seconds"
	want := `10 problems with the settings
  unknown flag "--nonsense"
  (file PATH line 1): unknown key "adr"; known here: addr, admin, backend, billing, data_dir, events, jwt, limits, log, server, shutdown, socket, static, status, timeout, usage
  log.level (flags --verbose, --quiet): want at most one of them
  addr (flag --addr): "nowhere" is not accepted; want host:port, or unix: and an absolute path of at most 107 bytes
  backend (environment BUS_VM_BACKEND): "cloud" is not accepted; want static, events
  status.max_age (file PATH line 3): "old" is not accepted; want a duration from 1ms to 24h, ` + duration + `
  events.url: is needed by usage.backend = events; set --events-url, BUS_EVENTS_API_URL or the key in the file
  events.token: is needed by usage.backend = events; set BUS_API_TOKEN, --token-file or BUS_API_TOKEN_FILE
  jwt.secret: no secret to verify tokens with; set BUS_VM_JWT_SECRET, or --jwt-secret-file or BUS_VM_JWT_SECRET_FILE, or --jwks-file or --jwks-url for public keys; for local checks use --dev
  events.listener_retry_min (environment BUS_EVENTS_LISTENER_RETRY_MIN): 1m is more than events.listener_retry_max, which is 30s (default)`
	if got := strings.ReplaceAll(Join(usage, err).Error(), path, "PATH"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestRefusedValues(t *testing.T) {
	refused := map[string][]string{
		"addr":                   {"", "8085", "localhost", "host:http", "host:65536", "host:-1", "unix:", "unix:relative.sock", "unix:/" + strings.Repeat("x", 107)},
		"admin.addr":             {"9090", "unix:relative"},
		"socket.mode":            {"", "rw", "0999", "1777", "-1", "0x1ff"},
		"backend":                {"", "Static", "memory"},
		"billing.backend":        {"memory"},
		"usage.backend":          {"static"},
		"timeout":                {"", "0", "0s", "-1s", "soon", "1.5", "25h", "99999999999999999999", "9300000000", "18446744074", "+5"},
		"jwt.leeway":             {"-1s", "61", "1m1s"},
		"jwt.cache_size":         {"0", "1048577", "1e3", "0x10", "１"},
		"server.header_bytes":    {"4095", "1048577"},
		"server.max_connections": {"0", "many"},
		"usage.max_records":      {"0", "-1", "100000001"},
		"admin.pprof":            {"", "2", "y", "ja"},
		"static.state":           {""},
		"static.details":         {"", "[]", "null", `"x"`, "{", "{} {}", "{a:1}"},
		"data_dir":               {""},
		"log.level":              {"trace", "INFO", "0"},
		"log.format":             {"xml"},
		"dev":                    {"perhaps"},
	}
	index := byKey(Settings())
	for key, texts := range refused {
		for _, text := range texts {
			if index[key].kind.set(&Config{}, text) {
				t.Errorf("%s accepts %q", key, text)
			}
		}
	}
}

func TestAcceptedValues(t *testing.T) {
	for _, tc := range []struct {
		key, text string
		get       func(*Config) any
		want      any
	}{
		{"timeout", "30", func(c *Config) any { return c.Timeout.String() }, "30s"},
		{"timeout", "1500ms", func(c *Config) any { return c.Timeout.String() }, "1.5s"},
		{"timeout", "0030", func(c *Config) any { return c.Timeout.String() }, "30s"},
		{"jwt.leeway", "60", func(c *Config) any { return c.JWT.Leeway.String() }, "1m0s"},
		{"socket.mode", "0660", func(c *Config) any { return c.Socket.Mode.String() }, "-rw-rw----"},
		{"socket.mode", "600", func(c *Config) any { return c.Socket.Mode.String() }, "-rw-------"},
		{"socket.mode", "0o666", func(c *Config) any { return c.Socket.Mode.String() }, "-rw-rw-rw-"},
		{"admin.pprof", "On", func(c *Config) any { return c.Admin.Pprof }, true},
		{"admin.pprof", "NO", func(c *Config) any { return c.Admin.Pprof }, false},
		{"addr", ":8085", func(c *Config) any { return c.Addr }, ":8085"},
		{"addr", "[::1]:0", func(c *Config) any { return c.Addr }, "[::1]:0"},
		{"addr", "unix:/" + strings.Repeat("x", 106), func(c *Config) any { return len(c.Addr) }, 112},
		{"admin.addr", "", func(c *Config) any { return c.Admin.Addr }, ""},
		{"static.details", ` { "zone" : 1.0 } `, func(c *Config) any { return string(c.Static.Details) }, `{"zone":1.0}`},
		{"log.level", "warn", func(c *Config) any { return c.Log.Level.String() }, "WARN"},
	} {
		c := &Config{}
		if ok := byKey(Settings())[tc.key].kind.set(c, tc.text); !ok || !reflect.DeepEqual(tc.get(c), tc.want) {
			t.Errorf("%s = %q: accepted %v, got %v, want %v", tc.key, tc.text, ok, tc.get(c), tc.want)
		}
	}
}

func TestRulesBetweenSettings(t *testing.T) {
	for name, tc := range map[string]struct {
		args    []string
		environ []string
		want    []Problem // none: accepted
	}{
		"dev": {args: []string{"--dev"}},
		"dev with another secret": {
			args: []string{"--dev"}, environ: withSecret(),
		},
		"dev on ::1":       {args: []string{"--dev", "--addr", "[::1]:8085"}},
		"dev on localhost": {args: []string{"--dev", "--addr", "localhost:8085"}},
		"dev on a socket":  {args: []string{"--dev", "--addr", "unix:/run/vm.sock"}},
		"dev for everyone": {
			args: []string{"--dev", "--addr", ":8085", "--admin-addr", "0.0.0.0:9090"},
			want: []Problem{
				{"addr", "flag --addr", `":8085" is not accepted with --dev, whose secret everybody knows; want a loopback address or a unix socket`},
				{"admin.addr", "flag --admin-addr", `"0.0.0.0:9090" is not accepted with --dev; want a loopback address or a unix socket`},
			},
		},
		"dev on a name that is not localhost": {
			args: []string{"--dev", "--addr", "localhost.example:1"},
			want: []Problem{{"addr", "flag --addr", `"localhost.example:1" is not accepted with --dev, whose secret everybody knows; want a loopback address or a unix socket`}},
		},
		"dev with events": {
			args:    []string{"--dev", "--backend=events", "--events-url=http://127.0.0.1:8081"},
			environ: []string{"BUS_API_TOKEN=t"},
			want:    []Problem{{"backend", "flag --backend", "events is not accepted with --dev; want static"}},
		},
		"events whole": {
			args:    []string{"--backend", "events", "--events-url", "http://127.0.0.1:8081/local/v1/"},
			environ: withSecret("BUS_API_TOKEN=t"),
		},
		"events with the dispatcher's environment alone": {
			args:    []string{"--billing-backend", "events"},
			environ: withSecret("BUS_EVENTS_API_URL=http://127.0.0.1:8081/local/v1", "BUS_EVENTS_TOKEN_FILE=.bus/tokens/absent.jwt"),
			want: []Problem{{"events.token", "", "is needed by billing.backend = events; set BUS_API_TOKEN, --token-file or BUS_API_TOKEN_FILE" +
				" (BUS_EVENTS_TOKEN_FILE names a file that does not exist)"}},
		},
		"events with a token file that is not there": {
			args:    []string{"--usage-backend", "events", "--events-url", "http://h", "--token-file", "/nonexistent/token"},
			environ: withSecret(),
			want:    []Problem{{"events.token_file", "flag --token-file", "the file does not exist or cannot be reached; want a file that holds the provider's token"}},
		},
		"a URL that no one needs, from the environment": {
			environ: withSecret("BUS_EVENTS_API_URL=%zz", "BUS_EVENTS_TOKEN_FILE=absent"),
		},
		"a URL that no one needs, from a flag": {
			args: []string{"--events-url", "ftp://h"}, environ: withSecret(),
			want: []Problem{{"events.url", "flag --events-url", "is not accepted; want an absolute http or https URL without user, query or fragment"}},
		},
		"refresh beyond the age": {
			environ: withSecret("BUS_VM_STATUS_MAX_AGE=1"),
			want:    []Problem{{"status.refresh", "default", "2s is more than status.max_age, which is 1s (environment BUS_VM_STATUS_MAX_AGE)"}},
		},
		"one address twice": {
			args: []string{"--addr", "0.0.0.0:8085", "--admin-addr", "127.0.0.1:8085"}, environ: withSecret(),
			want: []Problem{{"admin.addr", "flag --admin-addr", `"127.0.0.1:8085" is taken by addr, which is "0.0.0.0:8085" (flag --addr)`}},
		},
		"one socket twice": {
			args: []string{"--addr", "unix:/run/vm.sock"}, environ: withSecret("BUS_VM_ADMIN_ADDR=unix:/run/vm.sock"),
			want: []Problem{{"admin.addr", "environment BUS_VM_ADMIN_ADDR", `"unix:/run/vm.sock" is taken by addr, which is "unix:/run/vm.sock" (flag --addr)`}},
		},
		"a group of a socket": {
			args: []string{"--addr", "unix:/run/vm.sock", "--socket-group", "root"}, environ: withSecret(),
		},
		"a group that does not exist": {
			args: []string{"--admin-addr", "unix:/run/vm.sock", "--socket-group", "no-such-group"}, environ: withSecret(),
			want: []Problem{{"socket.group", "flag --socket-group", `this machine has no group "no-such-group"`}},
		},
		"a group without a socket": {
			args: []string{"--socket-group", "no-such-group"}, environ: withSecret(),
		},
		"both forms of the secret": {
			args: []string{"--jwt-secret-file", "/nonexistent"}, environ: withSecret(),
			want: []Problem{{"jwt.secret_file", "flag --jwt-secret-file", "want either this or jwt.secret (environment BUS_VM_JWT_SECRET), not both"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(Input{Flags: flagsOf(t, tc.args...), Environ: tc.environ})
			if want := problems(tc.want).err(); !reflect.DeepEqual(err, want) {
				t.Errorf("got  %v\nwant %v", err, want)
			}
		})
	}
}

func TestEventsURLs(t *testing.T) {
	for url, want := range map[string]bool{
		"http://127.0.0.1:8081": true, "https://events.example/local/v1/": true, "http://[::1]:8081/api/v1/events": true,
		"127.0.0.1:8081": false, "//host": false, "http://": false, "http://:8081": false, "unix:/run/events.sock": false,
		"http://user@h": false, "http://u:p@h": false, "http://h?x=1": false, "http://h?": false, "http://h#f": false, "http://h#": false,
		"http://h/%zz": false, " http://h": false,
	} {
		if got := isPlainURL(url); got != want {
			t.Errorf("%q: accepted is %v", url, got)
		}
	}
}

func TestFlagsThatAreWrong(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"all unknown ones":        {[]string{"--one", "--two=2", "-x"}, "3 problems with the settings\n  unknown flag \"--one\"\n  unknown flag \"--two\"\n  unknown flag \"-x\""},
		"a secret has no flag":    {[]string{"--jwt-secret", "hunter2"}, `unknown flag "--jwt-secret"`},
		"nor is its value shown":  {[]string{"--jwt-secret=hunter2"}, `unknown flag "--jwt-secret"`},
		"nor behind a short flag": {[]string{"-xsecret"}, `unknown flag "-x"`},
		"a flag of Go tests":      {[]string{"-test.v"}, `unknown flag "-test"`},
		"a positional":            {[]string{"--dev", "serve"}, `unexpected argument "serve"`},
		"a lone dash":             {[]string{"-"}, `unexpected argument "-"`},
		"no value":                {[]string{"--addr"}, "flag --addr needs a value"},
		"bad syntax":              {[]string{"--=hunter2"}, `bad flag syntax "--"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := ParseFlags(NewFlagSet("test", AllFlags), tc.args)
			if err == nil || err.Error() != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}
