package server

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/wire"
)

// large is more than the buffers of a connection hold.
var large = bytes.Repeat([]byte("x"), 16<<20)

const getLarge = "GET /large HTTP/1.1\r\nHost: x\r\n\r\n"

func mountLarge(router fiber.Router) {
	router.Get("/large", func(c *fiber.Ctx) error {
		c.Context().Response.SetBodyRaw(large)
		return nil
	})
}

// readLarge reads the reply to getLarge.
func readLarge(t *testing.T, answers *bufio.Reader) {
	t.Helper()
	response, err := http.ReadResponse(answers, nil)
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	require.EqualValues(t, len(large), n)
}

// A connection has all of its time to rest once a slow reply is through.
func TestRestBeginsBehindTheReply(t *testing.T) {
	const idle = 500 * time.Millisecond
	server := start(t, func(c *Config) { c.IdleTimeout = idle }, mountLarge)
	client := wire.Dial(t, server.Addr())
	answers := bufio.NewReader(client)
	wire.Send(t, client, getLarge)
	time.Sleep(idle * 4 / 5)
	readLarge(t, answers)
	ended := time.Now()
	assert.Empty(t, wire.Rest(t, client))
	assert.GreaterOrEqual(t, time.Since(ended), idle-tolerance)
	assert.Less(t, time.Since(ended), soon)
}

// A request that came while a reply was going out is answered, however long
// that took.
func TestRequestDuringASlowReply(t *testing.T) {
	const idle = 300 * time.Millisecond
	server := start(t, func(c *Config) { c.IdleTimeout = idle }, mountLarge)
	client := wire.Dial(t, server.Addr())
	answers := bufio.NewReader(client)
	wire.Send(t, client, getLarge)
	time.Sleep(idle / 3)
	wire.Send(t, client, getLive)
	time.Sleep(2 * idle)
	readLarge(t, answers)
	assert.Equal(t, sorted(answer("200 OK", "", `{"ok":true}`)), wire.Next(t, answers, "GET"))
}

// The time of a slow reply is over for whatever is sent after it.
func TestContinueBehindASlowReply(t *testing.T) {
	const write = 300 * time.Millisecond
	server := start(t, func(c *Config) { c.WriteTimeout = write }, mountLarge)
	client := wire.Dial(t, server.Addr())
	answers := bufio.NewReader(client)
	wire.Send(t, client, getLarge+"POST /livez HTTP/1.1\r\nHost: x\r\n")
	time.Sleep(write / 3)
	readLarge(t, answers)
	time.Sleep(2 * write)
	wire.Send(t, client, "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
	line, err := answers.ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
}

// A request has the time of one also when a single byte of it is still wanted.
func TestOneByteShortOfTheBuffer(t *testing.T) {
	server := start(t, func(c *Config) {
		c.ReadTimeout, c.IdleTimeout, c.HeaderBytes = readTimeout, 2*soon, aheadBytes+1
	}, nil)
	client := wire.Dial(t, server.Addr())
	answers := bufio.NewReader(client)
	wire.Send(t, client, getLive)
	wire.Next(t, answers, "GET")
	began := time.Now()
	head := "GET /livez HTTP/1.1\r\nHost: x\r\nX-A: "
	wire.Send(t, client, head+strings.Repeat("a", aheadBytes-len(head)))
	assert.Equal(t, refusals[408][0], wire.Anonymous(wire.Rest(t, client)))
	assert.Less(t, time.Since(began), soon)
}
