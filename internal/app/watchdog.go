package app

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/server"
	"github.com/busdk/bus-api-provider-vm/internal/systemd"
	"github.com/busdk/bus-api-provider-vm/routes"
)

// aliveTimeout bounds the check whether requests are still answered.
const aliveTimeout = 5 * time.Second

// watchdog feeds systemd's watchdog for as long as the service answers /livez
// on its own socket, the way any other client would ask.
func (a *app) watchdog(api *server.Server, addr net.Addr) func(context.Context) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, addr.Network(), addr.String())
	}}
	client := &http.Client{Transport: transport, Timeout: aliveTimeout}
	alive := func() bool {
		if api.Ready() != nil {
			return true // draining: the listener is closed on purpose
		}
		reply, err := client.Get("http://localhost" + routes.LivePath)
		if err != nil {
			a.logger.Error("this service does not answer itself; systemd restarts it when that goes on", "cause", err,
				"do", "look at the load of this machine and at the connections that are open")
			return false
		}
		return reply.Body.Close() == nil && reply.StatusCode == http.StatusOK
	}
	return func(ctx context.Context) error {
		defer transport.CloseIdleConnections()
		return systemd.Watch(ctx, alive)
	}
}
