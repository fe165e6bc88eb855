package jwks

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// A document that is still the same is not sent again, and neither that nor
// another spelling of it is a change.
func TestUnchangedDocuments(t *testing.T) {
	key := hostile.NewSigner(EdDSA, "k")
	var tag string
	tagged := func(w http.ResponseWriter, request *http.Request) {
		if request.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		document(hostile.JWKS(key.JWK(`"n":"`+tag[1:2]+`"`)), "ETag: "+tag)(w, request)
	}
	tag = `"1"`
	p := publish(t, httptest.NewServer, tagged)
	f := newFetcher(t, p.URL, nil)
	f.during(t, func() {
		next(t, p.served)
		for _, fresh := range []string{`"1"`, `"2"`, `"2"`} {
			p.now(func(w http.ResponseWriter, request *http.Request) { tag = fresh; tagged(w, request) })
			f.Refresh()
			next(t, p.served)
		}
		p.now(status(http.StatusInternalServerError)) // the tag outlives a failure
		f.Refresh()
		next(t, p.served)
		next(t, f.lines)
		assert.Contains(t, next(t, f.lines), "status 500")
		p.now(tagged)
		f.Refresh()
		next(t, p.served)
	})
	var sent []string
	for _, request := range p.requests() {
		sent = append(sent, request.Get("If-None-Match"))
	}
	assert.Equal(t, []string{"", `"1"`, `"1"`, `"2"`, `"2"`, `"2"`}, sent)
	assert.Len(t, f.used, 1)
}

// What no certificate vouches for is not read.
func TestTransportSecurity(t *testing.T) {
	key := hostile.NewSigner(EdDSA, "k")
	p := publish(t, httptest.NewTLSServer, document(hostile.JWKS(key.JWK())))
	trusting := newFetcher(t, p.URL, func(c *RemoteConfig) {
		c.TLS = p.Client().Transport.(*http.Transport).TLSClientConfig
	})
	trusting.during(t, func() { assert.Equal(t, []string{"k (EdDSA)"}, next(t, trusting.used)) })

	strict := newFetcher(t, p.URL, nil)
	strict.during(t, func() {
		assert.Equal(t, `level=ERROR msg="fetching public keys failed and there are none yet; /readyz stays 503" `+
			`cause="tls: failed to verify certificate: x509: certificate signed by unknown authority" `+
			`do="look at the server behind --jwks-url; it is asked again until it answers well"`, next(t, strict.lines))
	})
	assert.ErrorIs(t, strict.store.Ready(), errNoSet)
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
		_, err := NewRemote(RemoteConfig{URL: url, Store: NewStore(StoreConfig{})})
		assert.ErrorIs(t, err, ErrURL, url)
	}
}
