// Command fiber is a bare Fiber application: the price of the framework.
package main

import (
	"net"

	"github.com/gofiber/fiber/v2"

	"github.com/busdk/bus-api-provider-vm/tests/bench/peers/wire"
)

func main() {
	document := []byte(wire.Document)
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Get(wire.Path, func(c *fiber.Ctx) error {
		c.Set(fiber.HeaderContentType, wire.Type)
		c.Set(wire.IDName, wire.ID)
		c.Set(wire.CacheName, wire.Cache)
		return c.Send(document)
	})
	wire.Serve(func(l net.Listener) error { return app.Listener(l) })
}
