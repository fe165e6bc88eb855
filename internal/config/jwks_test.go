package config

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// publicKey is the key of RFC 8037 appendix A.2 as a set.
const publicKey = `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`

func TestJWKSSettings(t *testing.T) {
	good, bad := harness.File(t, "jwks.json", publicKey), harness.File(t, "bad.json", `{"keys":[]}`)
	const noURL = "is not accepted; want an absolute https URL, or http on a loopback address, without user or fragment"
	for name, tc := range map[string]struct {
		args, environ []string
		want          []Problem
	}{
		"a file and no secret":    {[]string{"--jwks-file=" + good}, nil, nil},
		"a file and a secret":     {nil, withSecret("BUS_VM_JWKS_FILE=" + good), nil},
		"a URL and no secret":     {nil, []string{"BUS_VM_JWKS_URL=https://id.example/jwks?v=1"}, nil},
		"a URL on loopback":       {[]string{"--jwks-url=http://[::1]:1/x"}, nil, nil},
		"both":                    {[]string{"--jwks-file=" + good, "--jwks-url=https://a"}, nil, []Problem{{"jwt.jwks_url", "flag --jwks-url", "want either this or jwt.jwks_file (flag --jwks-file), not both"}}},
		"no file":                 {[]string{"--jwks-file=" + filepath.Join(t.TempDir(), "absent")}, nil, []Problem{{"jwt.jwks_file", "flag --jwks-file", "no public keys in the file: no such file or directory"}}},
		"a file without a key":    {[]string{"--jwks-file=" + bad}, nil, []Problem{{"jwt.jwks_file", "flag --jwks-file", "no public keys in the file: the document has no key for RS256, ES256 or EdDSA"}}},
		"http elsewhere":          {[]string{"--jwks-url=http://hunter2@id.example/jwks"}, nil, []Problem{{"jwt.jwks_url", "flag --jwks-url", noURL}}},
		"a bad secret beside it":  {[]string{"--jwks-file=" + good}, []string{"BUS_VM_JWT_SECRET=base64:!"}, []Problem{{"jwt.secret", "environment BUS_VM_JWT_SECRET", "what follows base64: is not base64"}}},
		"an empty name, no value": {nil, withSecret("BUS_VM_JWKS_URL="), nil},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Flags: flagsOf(tc.args...), Environ: tc.environ}
			if tc.want == nil {
				loaded(t, in)
			} else {
				require.Equal(t, tc.want, problemsOf(t, in))
			}
		})
	}
}

func TestPublicKeysMakeNoSecret(t *testing.T) {
	in := Input{Environ: []string{"BUS_VM_JWKS_FILE=" + harness.File(t, "jwks.json", publicKey)}}
	if secrets, err := loaded(t, in).JWTSecrets(); err != nil || len(secrets) > 0 {
		t.Errorf("got %q, %v", secrets, err)
	}
	if _, err := LoadJWT(in); err == nil {
		t.Error("a token would be signed with no secret")
	}
}

func TestNeedRestart(t *testing.T) {
	path := harness.File(t, "config.yaml", "")
	before := loaded(t, Input{Flags: flagsOf("--jwt-leeway=5s"), Environ: withSecret("BUS_VM_CONFIG=" + path)})
	for text, want := range map[string][]string{
		"":                    nil,
		"log: {level: debug}": nil,
		"timeout: 30s":        nil,
		"timeout: 31s":        {"timeout"},
		"addr: 127.0.0.1:1\nlog: {level: error, format: json}": {"addr", "log.format"},
		"events: {token: hunter2}":                             {"events.token"},
		"jwt: {jwks_url: 'https://id'}":                        {"jwt.jwks_url"},
	} {
		rewrite(t, path, text)
		after, err := before.Reload()
		require.NoError(t, err)
		require.Equal(t, want, before.NeedRestart(after), text)
	}
	rewrite(t, path, "log: {level: loud}")
	_, err := before.Reload()
	require.Error(t, err)
	rewrite(t, path, "events: {token: hunter2, token_refresh: yes}")
	before = loaded(t, Input{Environ: withSecret("BUS_VM_CONFIG=" + path)})
	rewrite(t, path, "events: {token: hunter3, token_refresh: yes}")
	after, err := before.Reload()
	if err != nil || before.NeedRestart(after) != nil {
		t.Errorf("got %v, %v", before.NeedRestart(after), err)
	}
}
