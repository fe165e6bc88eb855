package config

import (
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

func TestEverythingWrongIsReportedAtOnce(t *testing.T) {
	path := harness.File(t, "config.yaml", "adr: here\nstatus:\n  max_age: old\n")
	_, err := Load(Input{
		Flags: flagsOf("--addr=nowhere"),
		Environ: []string{
			"BUS_VM_CONFIG=" + path, "BUS_VM_BACKEND=cloud", "BUS_VM_USAGE_BACKEND=events", "BUS_EVENTS_LISTENER_RETRY_MIN=1m",
		},
	})
	const duration = "such as 1m30s; a bare integer is seconds"
	want := `8 problems with the settings
  file PATH line 1: unknown key "adr"; did you mean addr?
  addr (flag --addr): "nowhere" is not accepted; want host:port, or unix: and an absolute path of at most 107 bytes
  backend (environment BUS_VM_BACKEND): "cloud" is not accepted; want static, events
  status.max_age (file PATH line 3): "old" is not accepted; want a duration from 1ms to 24h, ` + duration + `
  events.url: is needed by usage.backend = events; set --events-url, BUS_EVENTS_API_URL or the key in the file
  events.token: is needed by usage.backend = events; set BUS_API_TOKEN, --token-file or BUS_API_TOKEN_FILE, or write /etc/bus-api-provider-vm/api-token
  jwt.secret: no secret to verify tokens with; set BUS_VM_JWT_SECRET, or --jwt-secret-file or BUS_VM_JWT_SECRET_FILE, or write /etc/bus-api-provider-vm/jwt-secret, or --jwks-file or --jwks-url for public keys; for local checks use --dev
  events.listener_retry_min (environment BUS_EVENTS_LISTENER_RETRY_MIN): 1m is more than events.listener_retry_max, which is 30s (default)`
	if got := strings.ReplaceAll(err.Error(), path, "PATH"); got != want {
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
		"jwt.audiences":          {"", " ", ", ,"},
		"server.header_bytes":    {"4095", "1048577"},
		"server.max_connections": {"0", "1048577", "1e3", "0x10", "１", "many"},
		"store.keep":             {"", "0", "23h59m", "87601h"},
		"admin.pprof":            {"", "2", "y", "ja"},
		"static.state":           {""},
		"data_dir":               {""},
		"log.level":              {"trace", "INFO", "0"},
		"log.format":             {"xml"},
		"dev":                    {"perhaps"},
	}
	for key, texts := range refused {
		for _, text := range texts {
			if _, ok := setting(key).read(text); ok {
				t.Errorf("%s accepts %q", key, text)
			}
		}
	}
}

func TestAcceptedValues(t *testing.T) {
	for _, tc := range []struct {
		key, text string
		want      any
	}{
		{"timeout", "30", 30 * time.Second},
		{"timeout", "1500ms", 1500 * time.Millisecond},
		{"timeout", "0030", 30 * time.Second},
		{"timeout", "1m30s", 90 * time.Second},
		{"timeout", "1.5h", 90 * time.Minute},
		{"jwt.leeway", "60", time.Minute},
		{"socket.mode", "0660", os.FileMode(0o660)},
		{"socket.mode", "600", os.FileMode(0o600)},
		{"socket.mode", "0o666", os.FileMode(0o666)},
		{"admin.pprof", "On", true},
		{"admin.pprof", "NO", false},
		{"admin.pprof", "1", true},
		{"admin.pprof", "TRUE", true},
		{"admin.pprof", "yes", true},
		{"admin.pprof", "0", false},
		{"admin.pprof", "false", false},
		{"admin.pprof", "Off", false},
		{"addr", ":8085", ":8085"},
		{"addr", "[::1]:0", "[::1]:0"},
		{"addr", "unix:/" + strings.Repeat("x", 106), "unix:/" + strings.Repeat("x", 106)},
		{"admin.addr", "", ""},
		{"jwt.audiences", "a,b c,  d", []string{"a", "b", "c", "d"}},
		{"log.level", "warn", slog.LevelWarn},
	} {
		if got, ok := setting(tc.key).read(tc.text); !ok || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s = %q: accepted %v, got %v, want %v", tc.key, tc.text, ok, got, tc.want)
		}
	}
}

const (
	noStoreURL    = "is not accepted; want a postgres:// URL, on the command line without a password"
	passwordShown = "has a password, and every user of this machine can read command lines; set BUS_VM_STORE_URL or BUS_VM_STORE_URL_FILE"
)

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
		"dev on ::1":       {args: []string{"--dev", "--addr=[::1]:8085"}},
		"dev on localhost": {args: []string{"--dev", "--addr=localhost:8085"}},
		"dev on a socket":  {args: []string{"--dev", "--addr=unix:/run/vm.sock"}},
		"dev for everyone": {
			args: []string{"--dev", "--addr=:8085", "--admin-addr=0.0.0.0:9090"},
			want: []Problem{
				{"addr", "flag --addr", `":8085" is not accepted with --dev, whose secret everybody knows; want a loopback address or a unix socket`},
				{"admin.addr", "flag --admin-addr", `"0.0.0.0:9090" is not accepted with --dev, whose secret everybody knows; want a loopback address or a unix socket`},
			},
		},
		"dev on a name that is not localhost": {
			args: []string{"--dev", "--addr=localhost.example:1"},
			want: []Problem{{"addr", "flag --addr", `"localhost.example:1" is not accepted with --dev, whose secret everybody knows; want a loopback address or a unix socket`}},
		},
		"dev with events": {
			args:    []string{"--dev", "--backend=events", "--events-url=http://127.0.0.1:8081"},
			environ: []string{"BUS_API_TOKEN=t"},
			want:    []Problem{{"backend", "flag --backend", "events is not accepted with --dev; want static"}},
		},
		"events whole": {
			args:    []string{"--backend=events", "--events-url=http://127.0.0.1:8081/local/v1/"},
			environ: withSecret("BUS_API_TOKEN=t"),
		},
		"events as the dispatcher runs it": {
			args:    []string{"--backend=events", "--events-url=http://127.0.0.1:8081/local/v1"},
			environ: withSecret("BUS_API_TOKEN=t", "BUS_EVENTS_API_URL=http://127.0.0.1:8081/local/v1", "BUS_EVENTS_TOKEN_FILE=.bus/tokens/absent.jwt"),
		},
		"events with the dispatcher's environment alone": {
			args:    []string{"--billing-backend=events"},
			environ: withSecret("BUS_EVENTS_API_URL=http://127.0.0.1:8081/local/v1", "BUS_EVENTS_TOKEN_FILE=.bus/tokens/absent.jwt"),
			want: []Problem{{"events.token", "", "is needed by billing.backend = events; set BUS_API_TOKEN, --token-file or BUS_API_TOKEN_FILE, or write /etc/bus-api-provider-vm/api-token" +
				" (environment BUS_EVENTS_TOKEN_FILE names a file that does not exist)"}},
		},
		"events with a token file that is not there": {
			args:    []string{"--usage-backend=events", "--events-url=http://h", "--token-file=/nonexistent/token"},
			environ: withSecret(),
			want:    []Problem{{"events.token_file", "flag --token-file", "the file cannot be read: no such file or directory; want a file that holds the provider's token"}},
		},
		"a URL that no one needs, from the environment": {
			environ: withSecret("BUS_EVENTS_API_URL=%zz", "BUS_EVENTS_TOKEN_FILE=absent"),
		},
		"a URL that no one needs, from a flag": {
			args: []string{"--events-url=ftp://h"}, environ: withSecret(),
			want: []Problem{{"events.url", "flag --events-url", "is not accepted; want an absolute http or https URL without user, query or fragment"}},
		},
		"a URL with a password": {
			args: []string{"--events-url=http://u:hunter2@h"}, environ: withSecret(),
			want: []Problem{{"events.url", "flag --events-url", "is not accepted; want an absolute http or https URL without user, query or fragment"}},
		},
		"refresh beyond the age": {
			environ: withSecret("BUS_VM_STATUS_MAX_AGE=1"),
			want:    []Problem{{"status.refresh", "default", "2s is more than status.max_age, which is 1 (environment BUS_VM_STATUS_MAX_AGE)"}},
		},
		"a group of a socket": {
			args: []string{"--addr=unix:/run/vm.sock", "--socket-group=root"}, environ: withSecret(),
		},
		"a group that does not exist": {
			args: []string{"--addr=unix:/run/vm.sock", "--socket-group=no-such-group"}, environ: withSecret(),
			want: []Problem{{"socket.group", "flag --socket-group", `this machine has no group "no-such-group"`}},
		},
		"a group without a socket": {
			args: []string{"--socket-group=no-such-group"}, environ: withSecret(),
		},
		"a store URL without a password": {
			args: []string{"--store-url=postgres://vm@db-a:5432,db-b/vm?sslmode=verify-full"}, environ: withSecret(),
		},
		"a store URL with a password, from the environment": {
			environ: withSecret("BUS_VM_STORE_URL=postgresql://vm:hunter2@db/vm"),
		},
		"a store URL with a password, on the command line": {
			args: []string{"--store-url=postgres://vm:hunter2@db/vm"}, environ: withSecret(),
			want: []Problem{{"store.url", "flag --store-url", passwordShown}},
		},
		"one that wins over a file": {
			args: []string{"--store-url=postgres://vm:hunter2@db/vm"}, environ: withSecret("BUS_VM_STORE_URL_FILE=/nonexistent"),
			want: []Problem{{"store.url", "flag --store-url", passwordShown}},
		},
		"a parameter of the URL with a password": {
			args: []string{"--store-url=postgres://vm@db/vm?pass%77ord=hunter2"}, environ: withSecret(),
			want: []Problem{{"store.url", "flag --store-url", passwordShown}},
		},
		"a URL with a password that cannot be parsed": {
			args: []string{"--store-url=postgres://vm:hunter2/%zz@db/vm"}, environ: withSecret(),
			want: []Problem{{"store.url", "flag --store-url", passwordShown}},
		},
		"a password with a question mark": {
			args: []string{"--store-url=postgres://vm:a?b@db/vm"}, environ: withSecret(),
			want: []Problem{{"store.url", "flag --store-url", passwordShown}},
		},
		"a user with an at sign and a port": {
			args: []string{"--store-url=postgres://db:5432/vm?user=vm%40realm"}, environ: withSecret(),
		},
		"a store URL of another kind": {
			environ: withSecret("BUS_VM_STORE_URL=mysql://vm:hunter2@db/vm"),
			want:    []Problem{{"store.url", "environment BUS_VM_STORE_URL", noStoreURL}},
		},
		"a store URL that is none": {
			args: []string{"--store-url=host=db password=hunter2"}, environ: withSecret(),
			want: []Problem{{"store.url", "flag --store-url", noStoreURL}},
		},
		"a file of the store URL that is not there": {
			environ: withSecret("BUS_VM_STORE_URL_FILE=/nonexistent/hunter2"),
			want: []Problem{{"store.url_file", "environment BUS_VM_STORE_URL_FILE",
				"the file cannot be read: no such file or directory; want a file that this service's user can read, one secret a line"}},
		},
		"a secret file that is not there": {
			args: []string{"--jwt-secret-file=/nonexistent"},
			want: []Problem{{"jwt.secret_file", "flag --jwt-secret-file",
				"the file cannot be read: no such file or directory; want a file that this service's user can read, one secret a line"}},
		},
		"both forms of the secret": {
			args: []string{"--jwt-secret-file=/nonexistent"}, environ: withSecret(),
			want: []Problem{{"jwt.secret_file", "flag --jwt-secret-file", "want either this or jwt.secret (environment BUS_VM_JWT_SECRET), not both"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(Input{Flags: flagsOf(tc.args...), Environ: tc.environ})
			require.Equal(t, (&Error{Problems: tc.want}).OrNil(), err)
		})
	}
}
