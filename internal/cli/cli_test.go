package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/token"
	"github.com/busdk/bus-api-provider-vm/internal/version"
)

const testSecret = "a-secret-of-the-tests-that-is-long-enough"

// outcome is everything that a caller of the binary sees.
type outcome struct {
	code           int
	stdout, stderr string
}

// run runs Main; a nil serve must not be reached.
func run(t *testing.T, args, environ []string, serve func(context.Context, *config.Config, Env) error) outcome {
	t.Helper()
	var stdout, stderr strings.Builder
	if serve == nil {
		serve = func(context.Context, *config.Config, Env) error {
			t.Error("the service was started")
			return nil
		}
	}
	env := Env{
		Environ: environ, Stdout: &stdout, Stderr: &stderr, Serve: serve, OpenAPI: []byte("{}\n"),
		Now: func() time.Time { return time.Unix(1_800_000_000, 0) },
	}
	code := Main(t.Context(), args, env)
	return outcome{code, stdout.String(), stderr.String()}
}

const (
	hint        = "See bus-api-provider-vm --help.\n"
	helpHint    = "See bus-api-provider-vm help --help.\n"
	examineHint = "See bus-api-provider-vm doctor --help.\n"
	mintHint    = "See bus-api-provider-vm token --help.\n"
)

func TestMainOutcomes(t *testing.T) {
	secret := []string{"BUS_VM_JWT_SECRET=" + testSecret}
	const set = " with; set BUS_VM_JWT_SECRET, or --jwt-secret-file or BUS_VM_JWT_SECRET_FILE, or write /etc/bus-api-provider-vm/jwt-secret"
	const noSecretToSign = "jwt.secret: no secret to sign a token" + set + "; for local checks use --dev\n"
	const noSecret = "jwt.secret: no secret to verify tokens" + set + ", or --jwks-file or --jwks-url for public keys; for local checks use --dev\n"
	versionLine := Name + " " + version.String() + " (" + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + ")\n"
	for name, tc := range map[string]struct {
		args, environ []string
		want          outcome
	}{
		"version":                  {[]string{"version"}, nil, outcome{0, versionLine, ""}},
		"--version":                {[]string{"--version"}, nil, outcome{0, versionLine, ""}},
		"check, right":             {[]string{"--check-config"}, secret, outcome{0, "configuration ok\n", ""}},
		"check, wrong":             {[]string{"--check-config"}, nil, outcome{2, "", Name + ": " + noSecret + hint}},
		"check, unwise":            {[]string{"--check-config"}, []string{"BUS_VM_JWT_SECRET=x"}, outcome{0, "configuration ok\n", Name + ": warning: jwt.secret has fewer than 32 bytes and can be guessed; make one with: openssl rand -base64 48\n"}},
		"no secret":                {nil, nil, outcome{2, "", Name + ": " + noSecret + hint}},
		"unknown command":          {[]string{"serve"}, secret, outcome{2, "", Name + ": unknown command \"serve\"; the commands are token, doctor, usage, openapi, help, version\n" + hint}},
		"an empty command":         {[]string{""}, secret, outcome{2, "", Name + ": unknown command \"\"; the commands are token, doctor, usage, openapi, help, version\n" + hint}},
		"no command":               {[]string{"--dev", "now"}, nil, outcome{2, "", Name + ": unknown command \"now\"; the commands are token, doctor, usage, openapi, help, version\n" + hint}},
		"mistyped in front":        {[]string{"--scop", "hunter2", "version"}, nil, outcome{2, "", Name + ": unknown flag \"--scop\"; did you mean --scope?\nSee bus-api-provider-vm version --help.\n"}},
		"a mistyped command":       {[]string{"tokn"}, nil, outcome{2, "", Name + ": unknown command \"tokn\"; did you mean token?\n" + hint}},
		"flags and settings":       {[]string{"--unknown"}, nil, outcome{2, "", Name + ": 2 problems with the settings\n  unknown flag \"--unknown\"\n  " + noSecret + hint}},
		"version with a flag":      {[]string{"version", "--dev"}, nil, outcome{2, "", Name + ": --dev: is a flag of serving, token, doctor, usage; not of version\nSee bus-api-provider-vm version --help.\n"}},
		"help in another form":     {[]string{"help", "--format", "xml"}, nil, outcome{2, "", Name + ": --format: \"xml\" is not accepted; want text, json, opencli\n" + helpHint}},
		"help about a topic":       {[]string{"help", "me"}, nil, outcome{2, "", Name + ": unexpected argument \"me\"\n" + helpHint}},
		"a token of no scope":      {[]string{"token"}, secret, outcome{2, "", Name + ": --scope: is needed, for example \"vm:read vm:write\"\n" + mintHint}},
		"a token, all wrong":       {[]string{"token", "--ttl", "soon"}, nil, outcome{2, "", Name + ": 3 problems with the settings\n  --ttl: \"soon\" is not accepted; want a duration such as 1h; a bare integer is seconds\n  --scope: is needed, for example \"vm:read vm:write\"\n  " + noSecretToSign + mintHint}},
		"a token that never was":   {[]string{"token", "--scope=x", "--ttl=0"}, secret, outcome{2, "", Name + ": the lifetime (--ttl) is less than a second\n" + mintHint}},
		"a token, two levels":      {[]string{"token", "--scope=x", "-v", "-q"}, secret, outcome{2, "", Name + ": log.level (flags --quiet, --verbose): want at most one of them\n" + mintHint}},
		"an empty subject":         {[]string{"token", "--scope=x", "--sub="}, secret, outcome{2, "", Name + ": the subject is empty\n" + mintHint}},
		"a token as if to serve":   {[]string{"token", "--scope=x", "--addr=:1"}, secret, outcome{2, "", Name + ": --addr: is a flag of serving, doctor, usage; not of token\n" + mintHint}},
		"--version, flags wrong":   {[]string{"--version", "--unknown", "--color=x", "-C", "/nonexistent"}, secret, outcome{0, versionLine, ""}},
		"-V behind a command":      {[]string{"token", "-V"}, nil, outcome{0, versionLine, ""}},
		"--version with a value":   {[]string{"--version=maybe"}, secret, outcome{2, "", Name + ": flag --version takes no value\n" + hint}},
		"a value with a dash":      {[]string{"--timeout", "-3"}, secret, outcome{2, "", Name + ": timeout (flag --timeout): \"-3\" is not accepted; want a duration from 1ms to 24h, such as 1m30s; a bare integer is seconds\n" + hint}},
		"a flag without its value": {[]string{"--addr"}, secret, outcome{2, "", Name + ": flag --addr needs a value\n" + hint}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, run(t, tc.args, tc.environ, nil))
		})
	}
}

func TestServeOutcomes(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want outcome
	}{
		"ended":                {nil, outcome{0, "", ""}},
		"failed":               {errors.New("listen: address in use"), outcome{1, "", Name + ": listen: address in use\n"}},
		"cannot be obeyed":     {config.Refuse("backend", "events is not built in"), outcome{2, "", Name + ": backend: events is not built in\n" + hint}},
		"cannot, said by more": {fmt.Errorf("start: %w", config.Refuse("backend", "no")), outcome{2, "", Name + ": start: backend: no\n" + hint}},
	} {
		t.Run(name, func(t *testing.T) {
			served := 0
			got := run(t, []string{"--dev", "--addr", "127.0.0.1:0"}, nil, func(ctx context.Context, c *config.Config, env Env) error {
				served++
				if ctx != t.Context() || !c.Dev || c.Addr != "127.0.0.1:0" || env.Stdout == nil {
					t.Errorf("served with %+v", c)
				}
				return tc.err
			})
			if served != 1 || got != tc.want {
				t.Errorf("served %d times, got %+v, want %+v", served, got, tc.want)
			}
		})
	}
}

// usage hands its action, its event id and the settings of the service on, and
// prints what comes back. It verifies no tokens, and needs no secret to.
func TestUsage(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		code int
		said string // to ManageUsage
	}{
		"list":               {[]string{"usage", "list"}, 0, "list "},
		"retry":              {[]string{"usage", "retry"}, 0, "retry "},
		"drop":               {[]string{"usage", "drop", "an-id"}, 0, "drop an-id"},
		"drop without an id": {[]string{"usage", "drop"}, 2, ""},
		"retry with an id":   {[]string{"usage", "retry", "an-id"}, 2, ""},
		"nothing":            {[]string{"usage"}, 2, ""},
		"another":            {[]string{"usage", "delete"}, 2, ""},
		"two ids":            {[]string{"usage", "drop", "a", "b"}, 2, ""},
		"another wrong one":  {[]string{"usage", "list", "--timeout", "x"}, 2, ""},
		"a flag of secrets":  {[]string{"usage", "list", "--jwt-secret-fil", "x"}, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			said := ""
			code := Main(t.Context(), tc.args, Env{Stdout: &stdout, Stderr: &stderr,
				ManageUsage: func(_ context.Context, _ *config.Config, _ io.Writer, command, eventID string) (json.RawMessage, error) {
					said = command + " " + eventID
					return json.RawMessage(`{"n":1}`), nil
				}})
			require.Equal(t, tc.code, code, &stderr)
			require.Equal(t, tc.said, said)
			if code == 0 {
				require.Equal(t, "{\"n\":1}\n", stdout.String())
			}
		})
	}
}

func TestTokenRoundTrip(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secrets")
	require.NoError(t, os.WriteFile(file, []byte("# the first signs\n"+testSecret+"\nanother\n"), 0o600))
	for name, tc := range map[string]struct {
		args, environ []string
		secret        string
		want          jwt.MapClaims
	}{
		"defaults": {
			[]string{"--scope", "vm:read vm:write"}, []string{"BUS_VM_JWT_SECRET=" + testSecret}, testSecret,
			jwt.MapClaims{"sub": token.DevSubject, "aud": "ai.hg.fi/api", "scope": "vm:read vm:write", "iat": 1_800_000_000.0, "exp": 1_800_003_600.0},
		},
		"everything said": {
			[]string{"--scope=vm:read", "--sub=11111111-2222-4333-8444-555555555555", "--ttl=90", "--audience=other"}, []string{"BUS_VM_JWT_SECRET=base64:" + "c2hvcnQ"}, "short",
			jwt.MapClaims{"sub": "11111111-2222-4333-8444-555555555555", "aud": "other", "scope": "vm:read", "iat": 1_800_000_000.0, "exp": 1_800_000_090.0},
		},
		"a secret file, other settings wrong": {
			[]string{"--scope=x", "--jwt-secret-file", file}, []string{"BUS_VM_BACKEND=cloud"}, testSecret,
			jwt.MapClaims{"sub": token.DevSubject, "aud": "ai.hg.fi/api", "scope": "x", "iat": 1_800_000_000.0, "exp": 1_800_003_600.0},
		},
		"dev": {
			[]string{"--dev", "--scope=x"}, nil, config.DevSecret,
			jwt.MapClaims{"sub": token.DevSubject, "aud": "ai.hg.fi/api", "scope": "x", "iat": 1_800_000_000.0, "exp": 1_800_003_600.0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := run(t, append([]string{"token"}, tc.args...), tc.environ, nil)
			if got.code != 0 || strings.Count(got.stdout, "\n") != 1 {
				t.Fatalf("got %+v", got)
			}
			claims := jwt.MapClaims{}
			parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithTimeFunc(func() time.Time { return time.Unix(1_800_000_000, 0) }))
			_, err := parser.ParseWithClaims(strings.TrimSpace(got.stdout), claims, func(*jwt.Token) (any, error) { return []byte(tc.secret), nil })
			require.NoError(t, err)
			require.Equal(t, tc.want, claims)
		})
	}
}
