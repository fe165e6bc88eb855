package platform

import (
	"cmp"
	"crypto/tls"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

const (
	// Audience is the audience of every Bus API token.
	Audience = "ai.hg.fi/api"
	// Identity is the service identity that the provider and its workers share.
	Identity = "bus-vm-local"
	// DevSecret is the platform's well-known development secret.
	DevSecret = "not-a-secret-local-development-hs256-key"

	// serviceTokenTTL outlives any test and any afternoon with busstack.
	serviceTokenTTL = 30 * 24 * time.Hour
)

// The scopes that each service's token needs, as a `scope` claim.
const (
	ProviderScope = "vm:read vm:write usage:write billing:entitlement:check"
	vmScope       = "vm:read vm:write"
	billingScope  = "billing:entitlement:check"
	usageScope    = "usage:write"
)

// Claims says what a minted token holds.
type Claims struct {
	// Subject is `sub`; empty means Identity.
	Subject string
	// Scope is the space-separated `scope`; empty leaves the claim out.
	Scope string
	// Audience is `aud`; empty means the package's Audience.
	Audience string
	// TTL counts from now to `exp`; zero means an hour, and a negative
	// one makes a token that has already expired.
	TTL time.Duration
}

// Token mints an HS256 token signed with secret as raw text. No two tokens are
// equal: each gets a random `jti`.
func Token(secret string, c Claims) string {
	now := time.Now()
	claims := jwt.MapClaims{
		"sub": cmp.Or(c.Subject, Identity),
		"aud": cmp.Or(c.Audience, Audience),
		"iat": now.Unix(),
		"exp": now.Add(cmp.Or(c.TTL, time.Hour)).Unix(),
		"jti": uuid.NewString(),
	}
	if c.Scope != "" {
		claims["scope"] = c.Scope
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
	if err != nil {
		panic(err) // only a wrong key type or an unencodable claim gets here
	}
	return text
}

// CallerToken is the token of an end user of the provider's HTTP API.
func CallerToken(secret, account, scope string) string {
	return Token(secret, Claims{Subject: account, Scope: scope})
}

// tlsHost is the address that the certificate of an https API names.
const tlsHost = "127.0.0.1"

// newIdentity returns the certificate of an https API, which clients trust by
// its PEM text: that of net/http/httptest. HTTP/1.1 alone is spoken, because
// some faults take the connection over.
func newIdentity() (config *tls.Config, roots []byte) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	certificate := server.TLS.Certificates[0]
	return &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
}

// tcpOf is the TCP connection under conn, which may be TLS.
func tcpOf(conn net.Conn) (*net.TCPConn, bool) {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	tcp, ok := conn.(*net.TCPConn)
	return tcp, ok
}
