package platform

import (
	"crypto/tls"
	"encoding/pem"
	"net"
	"net/http/httptest"
)

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
