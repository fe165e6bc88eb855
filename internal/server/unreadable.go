package server

import (
	"errors"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/busdk/bus-api-provider-vm/internal/apierror"
)

// unreadable names what was wrong with a request that fasthttp could not read.
func unreadable(err error) *apierror.Error {
	var small *fasthttp.ErrSmallBuffer
	var chunk fasthttp.ErrBrokenChunk
	var timeout interface{ Timeout() bool } // net.Error, and fasthttp.ErrTimeout
	switch {
	case errors.As(err, &small):
		return apierror.New(apierror.HeaderTooLarge, "The request line and headers are too large.")
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		return apierror.New(apierror.RequestBodyTooLarge, "The request body is too large.")
	case errors.As(err, &timeout) && timeout.Timeout(),
		// A broken chunk hides its cause from errors.As.
		errors.As(err, &chunk) && strings.HasSuffix(chunk.Error(), "i/o timeout"):
		return apierror.New(apierror.RequestTimeout, "The request did not arrive in time.")
	}
	return apierror.New(apierror.BadRequest, "The request is not valid HTTP/1.1.")
}
