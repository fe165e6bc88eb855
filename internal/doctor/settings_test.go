package doctor

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

func TestSecretFiles(t *testing.T) {
	file := func(mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "secret")
		require.NoError(t, os.WriteFile(path, []byte("x"), mode))
		require.NoError(t, os.Chmod(path, mode)) // whatever the umask
		return path
	}
	look := func(paths ...string) []Check { return Config{SecretFiles: paths}.secretFiles(background()) }
	requireChecks(t, "none", "secret files", look("", ""))
	requireChecks(t, "closed", "secret files", look("", file(0o600), file(0o440)), found{OK, "other users cannot read them", ""})
	requireChecks(t, "readable", "secret files", look(file(0o644)), found{Warning, "every user of this machine may read .*/secret", "chmod o-rwx .*/secret"})
	requireChecks(t, "writable", "secret files", look(file(0o606), file(0o600)), found{Failed, "every user of this machine may replace .*", "chmod .*"})
	requireChecks(t, "absent", "secret files", look("/nonexistent/secret"), found{Failed, ".*no such file.*", "make the file readable.*"})
}

func TestPublicKeys(t *testing.T) {
	good, rsa := hostile.NewSigner("ES256", "a"), hostile.NewSigner("RS256", "b")
	document := func(status int, text string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(text))
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	look := func(url string) []Check { return Config{JWKSURL: url}.publicKeys(background()) }
	requireChecks(t, "no JWKS", "public keys", look(""))
	requireChecks(t, "good", "public keys", look(document(200, hostile.JWKS(good.JWK(), rsa.JWK()))), found{OK, "2 in the JWKS", ""})
	requireChecks(t, "one of no use", "public keys", look(document(200, hostile.JWKS(good.JWK(), `{"kty":"OKP","crv":"X25519","kid":"odd","x":"AAAA"}`))),
		found{Warning, `key "odd" is not used: .*`, "nothing, unless.*"})
	requireChecks(t, "none of use", "public keys", look(document(200, hostile.JWKS())), found{Failed, "no keys from the JWKS: the document has no key for RS256, .*", "open --jwks-url.*"})
	requireChecks(t, "an error", "public keys", look(document(500, "")), found{Failed, "no keys from the JWKS: .*500", "open --jwks-url.*"})
	requireChecks(t, "no JSON", "public keys", look(document(200, "<html>")), found{Failed, "no keys from the JWKS: .*", "open --jwks-url.*"})
	requireChecks(t, "connection refused", "public keys", look("http://127.0.0.1:1/keys"), found{Failed, "no keys from the JWKS: .*refused", "open --jwks-url.*"})
}
