package server

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
	"github.com/busdk/bus-api-provider-vm/tests/wire"
)

// refusals are the whole answers to a request that cannot be taken, by status.
var refusals = map[int][]string{
	400: {
		refusal("400 Bad Request", "bad_request", "The request is not valid HTTP/1.1."),
		refusal("400 Bad Request", "bad_request", errHeaderLine.Message),
		refusal("400 Bad Request", "bad_request", errFramedTwice.Message),
		refusal("400 Bad Request", "bad_request", errEncoding.Message),
	},
	408: {refusal("408 Request Timeout", "request_timeout", "The request did not arrive in time.")},
	413: {refusal("413 Request Entity Too Large", "request_body_too_large", "The request body is too large.")},
	431: {refusal("431 Request Header Fields Too Large", "request_header_fields_too_large",
		"The request line and headers are too large.")},
}

// Each bad request gets one answer, whole and in the envelope, that repeats
// nothing of it; then the connection closes in order, and what the request
// carried behind it is never looked at.
func TestBadRequests(t *testing.T) {
	server := start(t, nil, nil)
	requests := hostile.BadRequests()
	require.Greater(t, len(requests), 40)
	for _, request := range requests {
		t.Run(request.Name, func(t *testing.T) {
			t.Parallel()
			got := wire.Anonymous(wire.Exchange(t, server.Addr(), request.Raw))
			got = strings.TrimPrefix(got, "HTTP/1.1 100 Continue\n\n")
			require.Len(t, request.Want, 1)
			if !slices.Contains(refusals[request.Want[0]], got) {
				assert.Equal(t, refusals[request.Want[0]][0], got)
			}
			assert.NotContains(t, got, hostile.Canary)
		})
	}
}
