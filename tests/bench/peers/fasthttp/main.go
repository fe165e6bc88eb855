// Command fasthttp is a bare fasthttp server: the floor for what is built on it.
package main

import (
	"net"

	"github.com/valyala/fasthttp"

	"github.com/busdk/bus-api-provider-vm/tests/bench/peers/wire"
)

func main() {
	document := []byte(wire.Document)
	server := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		if string(ctx.Path()) != wire.Path {
			ctx.SetStatusCode(fasthttp.StatusNotFound)
			return
		}
		header := &ctx.Response.Header
		header.SetContentType(wire.Type)
		header.Set(wire.IDName, wire.ID)
		header.Set(wire.CacheName, wire.Cache)
		ctx.Response.SetBodyRaw(document)
	}}
	wire.Serve(func(l net.Listener) error { return server.Serve(l) })
}
