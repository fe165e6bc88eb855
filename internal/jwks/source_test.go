package jwks

import (
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// Another spelling of the same keys is no change.
func TestUnchangedKeys(t *testing.T) {
	key := hostile.NewSigner(EdDSA, "k")
	p := publish(t, httptest.NewServer, document(hostile.JWKS(key.JWK())))
	f := newFetcher(t, p.URL)
	f.during(t, func() {
		harness.Next(t, f.used)
		harness.Next(t, p.served)
		p.now(document(hostile.JWKS(key.JWK(`"n":"x"`), `{"kty":"new"}`)))
		for range 2 {
			f.Refresh()
			harness.Next(t, p.served)
		}
	})
	assert.Empty(t, f.used)
	assert.Contains(t, f.scrape(), `bus_vm_jwks_fetches_total{result="changed"} 1`)
	assert.Contains(t, f.scrape(), "bus_vm_jwks_skipped_keys 1\n")
}

// What no certificate vouches for is not read.
func TestTransportSecurity(t *testing.T) {
	key := hostile.NewSigner(EdDSA, "k")
	p := publish(t, httptest.NewTLSServer, document(hostile.JWKS(key.JWK())))
	trusting := newFetcher(t, p.URL)
	trusting.client = p.Client()
	trusting.during(t, func() { assert.Equal(t, []string{"k (EdDSA)"}, harness.Next(t, trusting.used)) })

	strict := newFetcher(t, p.URL)
	strict.during(t, func() {
		assert.Equal(t, `level=ERROR msg="fetching public keys failed and there are none yet; /readyz stays 503" `+
			`cause="tls: failed to verify certificate: x509: certificate signed by unknown authority" `+
			`do="look at the server behind --jwks-url; it is asked again until it answers well"`, harness.Next(t, strict.lines))
	})
	assert.Error(t, strict.Ready())
}

func TestURLs(t *testing.T) {
	for _, url := range []string{
		"https://id.example/jwks", "https://id.example:8443/jwks?app=1", "https://[2001:db8::1]",
		"http://127.0.0.1:1/jwks", "http://[::1]/", "http://localhost:8080/x", "HTTPS://ID.EXAMPLE",
	} {
		assert.NoError(t, CheckURL(url), url)
	}
	for _, url := range []string{
		"", "id.example/jwks", "//id.example", "https:///jwks", "https://", "https:id.example", "ftp://id.example", "file:///etc/jwks.json",
		"http://id.example/jwks", "http://127.0.0.1.example/", "http://localhost.example/", "http://10.0.0.1/", "http://0.0.0.0/",
		"https://user@id.example", "https://user:hunter2@id.example", "https://id.example/#x", "https://id.example:port/", "https://a b/",
	} {
		assert.ErrorIs(t, CheckURL(url), ErrURL, url)
		_, err := Fetch(t.Context(), Client, url)
		assert.ErrorIs(t, err, ErrURL, url)
	}
}
