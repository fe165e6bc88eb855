package config

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// TestEventsTokenOrder: flag or BUS_API_TOKEN_FILE, BUS_API_TOKEN, the file,
// BUS_EVENTS_TOKEN_FILE where it exists, the systemd credential.
func TestEventsTokenOrder(t *testing.T) {
	directory := t.TempDir()
	file := func(name string) string {
		path := filepath.Join(directory, name)
		rewrite(t, path, name)
		return path
	}
	byFlag, byEnv, inYAML, ambient, credential := file("flag"), file("env"), file("yaml"), file("ambient"), file("api-token")
	yamlFile := harness.File(t, "a.yaml", "events: {token_file: "+inYAML+"}\n")
	yamlToken := harness.File(t, "b.yaml", "events: {token: from-yaml}\n")
	yamlBoth := harness.File(t, "c.yaml", "events: {token: from-yaml, token_file: "+inYAML+"}\n")
	const none = ""
	for name, tc := range map[string]struct {
		flag, envFile, env, yaml, ambient, credentials string
		token, tokenFile                               string
	}{
		"all of them":               {byFlag, byEnv, "from-env", yamlBoth, ambient, directory, none, byFlag},
		"without the flag":          {none, byEnv, "from-env", yamlBoth, ambient, directory, none, byEnv},
		"without the file form":     {none, none, "from-env", yamlFile, ambient, directory, "from-env", none},
		"YAML before the platform":  {none, none, none, yamlToken, ambient, directory, "from-yaml", none},
		"both in YAML":              {none, none, none, yamlBoth, ambient, directory, none, inYAML},
		"what the dispatcher sets":  {none, none, none, none, ambient, directory, none, ambient},
		"what it sets is not there": {none, none, none, none, directory + "/absent", directory, none, credential},
		"the credential":            {none, none, none, none, none, directory, none, credential},
		"a flag that is a file":     {byFlag, none, "from-env", none, none, none, none, byFlag},
		"no credential":             {none, none, none, none, none, directory + "/absent", none, none},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Environ: withSecret(
				"BUS_API_TOKEN_FILE="+tc.envFile, "BUS_API_TOKEN="+tc.env, "BUS_VM_CONFIG="+tc.yaml,
				"BUS_EVENTS_TOKEN_FILE="+tc.ambient, "CREDENTIALS_DIRECTORY="+tc.credentials,
			)}
			if tc.flag != none {
				in.Flags = flagsOf("--token-file=" + tc.flag)
			}
			got := loaded(t, in).Events
			if got.Token.Reveal() != tc.token || got.TokenFile != tc.tokenFile {
				t.Errorf("got token %q and file %q, want %q and %q", got.Token.Reveal(), got.TokenFile, tc.token, tc.tokenFile)
			}
		})
	}
}

func TestJWTSecretOrder(t *testing.T) {
	directory := t.TempDir()
	rewrite(t, filepath.Join(directory, "jwt-secret"), "from-the-credential-that-is-long-enough\n")
	file := harness.File(t, "secrets", "from-the-file-that-is-long-enough-too\n")
	yaml := harness.File(t, "a.yaml", "jwt: {secret: from-yaml-and-long-enough-to-be-no-warning}\n")
	for name, tc := range map[string]struct {
		args, environ []string
		want          string
	}{
		"its own name":               {nil, withSecret("BUS_API_JWT_SECRET=x", "CREDENTIALS_DIRECTORY="+directory), testSecret},
		"the platform's name":        {nil, []string{"BUS_API_JWT_SECRET=" + testSecret, "CREDENTIALS_DIRECTORY=" + directory}, testSecret},
		"the platform's file":        {nil, []string{"BUS_API_JWT_SECRET_FILE=" + file, "CREDENTIALS_DIRECTORY=" + directory}, "from-the-file-that-is-long-enough-too"},
		"its own over that file":     {nil, withSecret("BUS_API_JWT_SECRET_FILE=" + file), testSecret},
		"dev with that file":         {[]string{"--dev"}, []string{"BUS_API_JWT_SECRET_FILE=" + file}, "from-the-file-that-is-long-enough-too"},
		"the credential":             {nil, []string{"CREDENTIALS_DIRECTORY=" + directory}, "from-the-credential-that-is-long-enough"},
		"its name over a credential": {nil, withSecret("CREDENTIALS_DIRECTORY=" + directory), testSecret},
		"a file over the platform's": {[]string{"--jwt-secret-file=" + file}, []string{"BUS_API_JWT_SECRET=x"}, "from-the-file-that-is-long-enough-too"},
		"YAML over the platform's":   {nil, []string{"BUS_API_JWT_SECRET=x", "BUS_VM_CONFIG=" + yaml}, "from-yaml-and-long-enough-to-be-no-warning"},
		"dev":                        {[]string{"--dev"}, nil, DevSecret},
		"dev with a secret":          {[]string{"--dev"}, withSecret(), testSecret},
		"dev with the platform's":    {[]string{"--dev"}, []string{"BUS_API_JWT_SECRET=" + testSecret}, testSecret},
		"dev with a file":            {[]string{"--dev", "--jwt-secret-file=" + file}, nil, "from-the-file-that-is-long-enough-too"},
		"dev with a credential":      {[]string{"--dev"}, []string{"CREDENTIALS_DIRECTORY=" + directory}, "from-the-credential-that-is-long-enough"},
	} {
		t.Run(name, func(t *testing.T) {
			c := loaded(t, Input{Flags: flagsOf(tc.args...), Environ: tc.environ})
			secrets, err := c.JWTSecrets()
			if err != nil || len(secrets) != 1 || string(secrets[0]) != tc.want {
				t.Errorf("got %q, %v, want %s", secrets, err, tc.want)
			}
			if len(c.Warnings) > 0 {
				t.Errorf("warnings %q", c.Warnings)
			}
		})
	}
}

// TestStoreURLOrder: the stronger place, then the file, then the credential.
func TestStoreURLOrder(t *testing.T) {
	directory := t.TempDir()
	rewrite(t, filepath.Join(directory, "store-url"), "postgres://credential\n")
	file := harness.File(t, "url", "# of the platform\npostgres://file:hunter2@db\n")
	yaml := harness.File(t, "a.yaml", "store: {url: 'postgres://yaml'}\n")
	for name, tc := range map[string]struct {
		args, environ []string
		want          string
	}{
		"none":                  {nil, nil, ""},
		"the flag over a file":  {[]string{"--store-url=postgres://flag"}, []string{"BUS_VM_STORE_URL_FILE=" + file}, "postgres://flag"},
		"a file over its value": {nil, []string{"BUS_VM_STORE_URL=postgres://env", "BUS_VM_STORE_URL_FILE=" + file}, "postgres://file:hunter2@db"},
		"environment over YAML": {nil, []string{"BUS_VM_STORE_URL=postgres://env", "BUS_VM_CONFIG=" + yaml}, "postgres://env"},
		"a file over YAML":      {nil, []string{"BUS_VM_STORE_URL_FILE=" + file, "BUS_VM_CONFIG=" + yaml}, "postgres://file:hunter2@db"},
		"YAML over credentials": {nil, []string{"CREDENTIALS_DIRECTORY=" + directory, "BUS_VM_CONFIG=" + yaml}, "postgres://yaml"},
		"the credential":        {nil, []string{"CREDENTIALS_DIRECTORY=" + directory}, "postgres://credential"},
	} {
		t.Run(name, func(t *testing.T) {
			c := loaded(t, Input{Flags: flagsOf(tc.args...), Environ: withSecret(tc.environ...)})
			got, err := c.StoreURL()
			require.NoError(t, err)
			require.Equal(t, tc.want, got.Reveal())
			require.NotContains(t, printed(t, c), "postgres:")
		})
	}
	for text, want := range map[string]string{
		"":                                     "store.url_file: the file holds no secret; want one secret a line",
		"postgres://a\npostgres://hunter2@b\n": "store.url_file: the file holds more than one URL",
		"host=db password=hunter2":             "store.url_file: " + noStoreURL,
	} {
		var c Config
		c.Store.URLFile = harness.File(t, "url", text)
		_, err := c.StoreURL()
		require.EqualError(t, err, want)
	}
}

func TestSecretFile(t *testing.T) {
	encoded := base64.StdEncoding.EncodeToString([]byte("third\x00"))
	for name, tc := range map[string]struct {
		text string
		want []string
		err  string
	}{
		"several":       {"# rolled in June\nfirst\n\n  second \r\nbase64:" + encoded, []string{"first", "second", "third\x00"}, ""},
		"nothing":       {"", nil, "jwt.secret_file: the file holds no secret; want one secret a line"},
		"comments only": {"# hunter2\n\n", nil, "jwt.secret_file: the file holds no secret; want one secret a line"},
		"no base64":     {"first\nbase64:hunter2!\n", nil, "jwt.secret_file: line 2 of the file: what follows base64: is not base64"},
		"empty base64":  {"base64:\n", nil, "jwt.secret_file: line 1 of the file: the secret is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			var c Config
			c.JWT.SecretFile = harness.File(t, "secrets", tc.text)
			secrets, err := c.JWTSecrets()
			var got []string
			for _, secret := range secrets {
				got = append(got, string(secret))
			}
			if !reflect.DeepEqual(got, tc.want) || (err == nil) != (tc.err == "") || err != nil && err.Error() != tc.err {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	var c Config
	c.JWT.SecretFile = "/nonexistent/hunter2"
	_, err := c.JWTSecrets()
	if want := "jwt.secret_file: the file cannot be read: no such file or directory; want a file that this service's user can read, one secret a line"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestWarnings(t *testing.T) {
	file := harness.File(t, "secrets", testSecret+"\nshort\n")
	for name, tc := range map[string]struct {
		args, environ []string
		want          []string
	}{
		"none": {nil, withSecret("BUS_OTHER=1", "PATH=/bin", "BUS_VM_ADDR="), nil},
		"a short secret": {nil, []string{"BUS_VM_JWT_SECRET=dev-secret"},
			[]string{"jwt.secret has fewer than 32 bytes and can be guessed; make one with: openssl rand -base64 48"}},
		"a short secret of several": {[]string{"--jwt-secret-file=" + file}, nil,
			[]string{"secret 2 of jwt.secret_file has fewer than 32 bytes and can be guessed; make one with: openssl rand -base64 48"}},
		"the published secret": {nil, []string{"BUS_VM_JWT_SECRET=" + DevSecret},
			[]string{"jwt.secret is the published development secret: anyone can sign tokens for this service"}},
		"mistyped names": {nil, withSecret("BUS_VM_TIMEOT=1s", "BUS_VM_ADR=hunter2"),
			[]string{"the environment has BUS_VM_ADR, which is no setting and changes nothing; did you mean BUS_VM_ADDR?", "the environment has BUS_VM_TIMEOT, which is no setting and changes nothing; did you mean BUS_VM_TIMEOUT?"}},
		"static for everyone": {[]string{"--addr=0.0.0.0:8085"}, withSecret(),
			[]string{"backend static answers for no real machine, and 0.0.0.0:8085 can be reached by other machines"}},
		"metrics for everyone": {[]string{"--admin-addr=0.0.0.0:9085"}, withSecret(),
			[]string{"admin.addr 0.0.0.0:9085 can be reached by other machines, and asks for no token; use a loopback address or a unix socket, or let a firewall decide who may"}},
		"Events in clear": {[]string{"--backend=events", "--events-url=http://bus-events:8081"}, withSecret("BUS_API_TOKEN=x"),
			[]string{"events.url is plain http to bus-events:8081: the provider's token can be read on the way; use https, or a network that is yours alone"}},
		"Events encrypted":          {[]string{"--backend=events", "--events-url=https://bus-events"}, withSecret("BUS_API_TOKEN=x"), nil},
		"Events on this machine":    {[]string{"--backend=events", "--events-url=http://LOCALHOST:8081/local/v1"}, withSecret("BUS_API_TOKEN=x"), nil},
		"Events that nothing needs": {[]string{"--events-url=http://bus-events:8081"}, withSecret(), nil},
		"static on a socket":        {[]string{"--addr=unix:/run/vm.sock"}, withSecret(), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := loaded(t, Input{Flags: flagsOf(tc.args...), Environ: tc.environ}).Warnings
			require.Equal(t, tc.want, got)
		})
	}
}

func TestDataDirectory(t *testing.T) {
	for want, in := range map[string]Input{
		"./bus-vm-data": {Environ: withSecret("STATE_DIRECTORY=:")},
		"/var/lib/a":    {Environ: withSecret("STATE_DIRECTORY=/var/lib/a:/var/lib/b")},
		"/srv/a":        {Environ: withSecret("STATE_DIRECTORY=/var/lib/a", "BUS_VM_DATA_DIR=/srv/a")},
	} {
		if got := loaded(t, in).DataDir; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestConfigCannotPrintSecrets tries every common way to print a Config.
func TestConfigCannotPrintSecrets(t *testing.T) {
	environ := []string{"BUS_VM_JWT_SECRET=hunter2-jwt", "BUS_API_TOKEN=hunter2-token", "BUS_VM_STORE_URL=postgres://vm:hunter2@db", "OTHER=hunter2-other"}
	c := loaded(t, Input{Environ: environ})
	var b strings.Builder
	fmt.Fprintf(&b, "%v %+v %#v", c, c, c)
	fmt.Fprintf(&b, "%v %+v %#v", *c, *c, *c)
	for _, handler := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(handler).Info("settings", "config", c, "value", *c)
	}
	text, err := json.Marshal(c)
	require.NoError(t, err)
	require.NotContains(t, b.String()+string(text)+printed(t, c), "hunter2")
}

func TestPrintedPlaceholderIsNoSecret(t *testing.T) {
	path := harness.File(t, "printed.yaml", printed(t, loaded(t, Input{Environ: withSecret("BUS_API_TOKEN=t", "BUS_VM_STORE_URL=postgres://h")})))
	got := problemsOf(t, Input{Flags: flagsOf("--config=" + path)})
	for i, key := range []string{"store.url", "events.token", "jwt.secret"} {
		if len(got) < 3 || got[i].Key != key || !strings.HasPrefix(got[i].Text, `"[redacted]" is not accepted; want `) {
			t.Errorf("got %v", got)
		}
	}
}

func TestLoadJWTIgnoresEverythingElse(t *testing.T) {
	c, err := LoadJWT(Input{Environ: withSecret("BUS_VM_BACKEND=cloud", "BUS_VM_TIMEOUT=x", "BUS_VM_USAGE_BACKEND=events")})
	if err != nil || c.JWT.Secret.Reveal() != testSecret || c.Backend != Static {
		t.Errorf("got %+v, %v", c, err)
	}
	if _, err = LoadJWT(Input{}); err == nil {
		t.Error("a token would be signed with no secret")
	}
	path := harness.File(t, "config.yaml", "timeout: [\n")
	if _, err = LoadJWT(Input{Environ: withSecret("BUS_VM_CONFIG=" + path)}); err == nil {
		t.Error("a file that cannot be read was passed over")
	}
}
