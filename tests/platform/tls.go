package platform

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// certificateTTL outlives any test.
const certificateTTL = 30 * 24 * time.Hour

// identity is the certificate of an https API. It signs itself, so clients
// trust its PEM text as their root.
type identity struct {
	config *tls.Config
	pem    []byte
}

// newIdentity makes a certificate for the host of addr, an IP address.
func newIdentity(addr net.Addr) (*identity, error) {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("no certificate for %s: it is no TCP address", addr)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: "Events API of a test"},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.Add(certificateTTL),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		IPAddresses:           []net.IP{tcp.IP},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return &identity{
		// HTTP/1.1 alone: some faults take the connection over.
		config: &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
			NextProtos:   []string{"http/1.1"}, MinVersion: tls.VersionTLS12,
		},
		pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
	}, nil
}

// tcpOf is the TCP connection under conn, which may be TLS.
func tcpOf(conn net.Conn) (*net.TCPConn, bool) {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	tcp, ok := conn.(*net.TCPConn)
	return tcp, ok
}
