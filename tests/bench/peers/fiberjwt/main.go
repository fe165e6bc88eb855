// Command fiberjwt is the plain way to the same checks: Fiber with contrib/jwt
// in front, audience, expiry, subject and scope looked up in its map claims.
package main

import (
	"net"
	"os"
	"slices"
	"strings"

	jwtware "github.com/gofiber/contrib/jwt"
	"github.com/gofiber/fiber/v2"
	"github.com/golang-jwt/jwt/v5"

	"github.com/busdk/bus-api-provider-vm/tests/bench/peers/wire"
)

func main() {
	document := []byte(wire.Document)
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Use(jwtware.New(jwtware.Config{
		SigningKey:   jwtware.SigningKey{JWTAlg: jwtware.HS256, Key: []byte(os.Getenv(wire.SecretEnv))},
		ErrorHandler: func(c *fiber.Ctx, _ error) error { return c.SendStatus(fiber.StatusUnauthorized) },
	}))
	app.Get(wire.Path, func(c *fiber.Ctx) error {
		if status := check(c.Locals("user").(*jwt.Token)); status != fiber.StatusOK {
			return c.SendStatus(status)
		}
		c.Set(fiber.HeaderContentType, wire.Type)
		c.Set(wire.IDName, wire.ID)
		c.Set(wire.CacheName, wire.Cache)
		return c.Send(document)
	})
	wire.Serve(func(l net.Listener) error { return app.Listener(l) })
}

// check is what the library leaves to its user: it verifies the signature, and
// exp only where there is one.
func check(token *jwt.Token) int {
	claims := token.Claims.(jwt.MapClaims)
	audience, err := claims.GetAudience()
	if err != nil || !slices.Contains(audience, wire.Audience) {
		return fiber.StatusUnauthorized
	}
	if expiry, err := claims.GetExpirationTime(); err != nil || expiry == nil {
		return fiber.StatusUnauthorized
	}
	if subject, err := claims.GetSubject(); err != nil || subject == "" {
		return fiber.StatusUnauthorized
	}
	scope, _ := claims["scope"].(string)
	if !slices.Contains(strings.Split(scope, " "), wire.Scope) {
		return fiber.StatusForbidden
	}
	return fiber.StatusOK
}
