// Command nethttp is a net/http server without any check.
package main

import (
	"net"
	"net/http"

	"github.com/busdk/bus-api-provider-vm/tests/bench/peers/wire"
)

func main() {
	document := []byte(wire.Document)
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.Path, func(w http.ResponseWriter, _ *http.Request) {
		header := w.Header()
		header.Set("Content-Type", wire.Type)
		header.Set(wire.IDName, wire.ID)
		header.Set(wire.CacheName, wire.Cache)
		_, _ = w.Write(document)
	})
	wire.Serve(func(l net.Listener) error { return http.Serve(l, mux) })
}
