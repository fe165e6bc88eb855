package routes

import (
	_ "embed"

	"github.com/gofiber/fiber/v2"
)

// OpenAPI is the description of this API, an OpenAPI 3.1 document.
//
//go:embed openapi.json
var OpenAPI []byte

// description serves OpenAPI without a token: it holds nothing but what the
// documentation says.
func description(c *fiber.Ctx) error { return sendJSON(c, fiber.StatusOK, OpenAPI) }
