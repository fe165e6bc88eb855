package server

import (
	"errors"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/busdk/bus-api-provider-vm/middleware"
)

// unreadable names what was wrong with a request that fasthttp could not read.
func unreadable(err error) *middleware.Error {
	var small *fasthttp.ErrSmallBuffer
	var chunk fasthttp.ErrBrokenChunk
	var timeout interface{ Timeout() bool } // net.Error, and fasthttp.ErrTimeout
	switch {
	case errors.As(err, &small):
		return middleware.NewError(middleware.CodeHeaderTooLarge, "The request line and headers are too large.")
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		return middleware.NewError(middleware.CodeRequestBodyTooLarge, "The request body is too large.")
	case errors.As(err, &timeout) && timeout.Timeout(),
		// A broken chunk hides its cause from errors.As.
		errors.As(err, &chunk) && strings.HasSuffix(chunk.Error(), "i/o timeout"):
		return middleware.NewError(middleware.CodeRequestTimeout, "The request did not arrive in time.")
	}
	return middleware.NewError(middleware.CodeBadRequest, "The request is not valid HTTP/1.1.")
}
