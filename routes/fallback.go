package routes

import (
	"log/slog"

	"github.com/gofiber/fiber/v2"

	"github.com/busdk/bus-api-provider-vm/middleware"
)

// allowed lists the methods of each path, as Allow shows them.
var allowed = map[string]string{
	StatusPath:  "GET, HEAD",
	StartPath:   "POST",
	StopPath:    "POST",
	OpenAPIPath: "GET, HEAD",
	ReadyPath:   "GET, HEAD",
	LivePath:    "GET, HEAD",
}

// NotFound ends the chain of an application that serves nothing else: every
// path that Mount did not register is a 404 in the envelope. A nil counter
// counts nothing.
func NotFound(logger *slog.Logger, counter *middleware.RouteMetrics) []fiber.Handler {
	return []fiber.Handler{
		middleware.RequestID(middleware.NewRequestIDs()),
		middleware.Errors(logger),
		func(*fiber.Ctx) error {
			counter.Refuse(errNotFound)
			return errNotFound
		},
	}
}

var errNotFound = middleware.NewError(middleware.CodeNotFound, "There is nothing at this path.")

// Refusal is the error for a method Fiber does not know: 405 on a path of this
// API, 404 elsewhere.
func Refusal(path string) *middleware.Error {
	if methods, ok := allowed[path]; ok {
		return methodNotAllowed(methods)
	}
	return errNotFound
}

func wrongMethod(path string) fiber.Handler {
	refusal := methodNotAllowed(allowed[path])
	return func(*fiber.Ctx) error { return refusal }
}

// methodNotAllowed names the methods that do work (RFC 9110 §15.5.6).
func methodNotAllowed(methods string) *middleware.Error {
	e := middleware.NewError(middleware.CodeMethodNotAllowed, "This path takes only "+methods+".")
	e.Headers = []middleware.Header{{Name: fiber.HeaderAllow, Value: methods}}
	return e
}
