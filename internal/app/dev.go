package app

import (
	"fmt"
	"io"
	"net"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/token"
	"github.com/busdk/bus-api-provider-vm/middleware"
	"github.com/busdk/bus-api-provider-vm/routes"
)

// devTokenTTL is how long the token of the greeting works.
const devTokenTTL = 12 * time.Hour

// greet prints what one needs to try the API at once: a token and the calls.
func (a *app) greet(w io.Writer, addr net.Addr) error {
	jwt, err := token.Mint(a.secrets[0], token.Claims{
		Subject:  token.DevSubject,
		Audience: a.config.JWT.Audiences[0],
		Scope:    middleware.ScopeRead + " " + middleware.ScopeWrite,
		TTL:      devTokenTTL,
	}, time.Now())
	if err != nil {
		return fmt.Errorf("mint a development token: %w", err)
	}
	curl, base := "curl -sS", "http://"+addr.String()
	if addr.Network() == "unix" {
		curl, base = "curl -sS --unix-socket "+addr.String(), "http://localhost"
	}
	_, err = fmt.Fprintf(w, `Development mode: static backend, published secret, this machine only.
Ctrl-C ends it. Try, in another terminal:

TOKEN=%s

%[2]s -H "Authorization: Bearer $TOKEN" %[3]s%[4]s
%[2]s -H "Authorization: Bearer $TOKEN" -X POST %[3]s%[5]s
%[2]s -H "Authorization: Bearer $TOKEN" -X POST %[3]s%[6]s

`, jwt, curl, base, routes.StatusPath, routes.StartPath, routes.StopPath)
	return err
}
