package fastconn

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	quick = 100 * time.Millisecond
	never = time.Hour
	// soon is far beyond quick, and far below never.
	soon = 5 * time.Second
)

// connect returns both ends of a connection over network.
func connect(t *testing.T, network string, config Config) (client net.Conn, served *Conn) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	inner, err := net.Listen(network, addr)
	require.NoError(t, err)
	l := NewListener(inner, config)
	defer l.Close()
	client, err = net.Dial(network, l.Addr().String())
	require.NoError(t, err)
	c, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = client.Close(), c.Close() })
	return client, c.(*Conn)
}

// first waits for a request as fasthttp does.
func first(c *Conn) (byte, error) {
	b := make([]byte, 1)
	_, err := c.Read(b)
	return b[0], err
}

// What arrives of a request is read whole and in order, in pieces of any size, and
// nothing of the next request of the connection before it; then comes the end.
func TestRead(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		for _, piece := range []int{1, 2, 4095, 4096, 1 << 20} {
			client, c := connect(t, network, Config{never, never, never, 16 << 10, nil})
			var requests [][]byte
			for _, size := range []int{1, 2, 4096, 4097, 100_000} {
				body := make([]byte, size)
				_, _ = rand.Read(body)
				requests = append(requests,
					fmt.Appendf(nil, "POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s", size, body),
					fmt.Appendf(nil, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x;a\r\n%s\r\n0\r\nA: b\r\n\r\n", size, body))
			}
			go func() { _, _ = client.Write(bytes.Join(requests, nil)) }()
			for _, sent := range requests {
				got := make([]byte, len(sent))
				var err error
				got[0], err = first(c)
				require.NoError(t, err)
				for rest := got[1:]; len(rest) > 0; {
					n, err := c.Read(rest[:min(piece, len(rest))])
					require.NoError(t, err)
					rest = rest[n:]
				}
				require.True(t, bytes.Equal(sent, got), "%d bytes over %s in pieces of %d", len(sent), network, piece)
				if c.ahead != nil {
					n, err := c.Read(got)
					require.Zero(t, n)
					require.ErrorIs(t, err, ErrLine, "more was read than the request")
				}
				c.RequestDone(time.Now())
			}
			require.NoError(t, client.Close())
			_, err := first(c)
			require.ErrorIs(t, err, io.EOF)
		}
	}
}

// Each wait has a time-out of its own, and no other ends it.
func TestDeadlines(t *testing.T) {
	told := 0
	silent := func(net.Conn) { told++ }
	begin := func(t *testing.T, client net.Conn, c *Conn, text string) {
		_, err := client.Write([]byte(text))
		require.NoError(t, err)
		_, err = first(c)
		require.NoError(t, err)
	}
	for name, w := range map[string]struct {
		config Config
		wait   func(*testing.T, net.Conn, *Conn) error
		told   int
	}{
		"first request": {Config{quick, never, never, 16 << 10, silent}, func(_ *testing.T, _ net.Conn, c *Conn) error {
			_, err := first(c)
			return err
		}, 1},
		"next request": {Config{never, never, quick, 16 << 10, silent}, func(t *testing.T, client net.Conn, c *Conn) error {
			begin(t, client, c, "x")
			c.RequestDone(time.Now())
			_, err := first(c)
			return err
		}, 0},
		"rest of a request, one byte at a time": {Config{quick, never, never, 16 << 10, silent}, func(t *testing.T, client net.Conn, c *Conn) error {
			begin(t, client, c, "GET")
			for {
				if _, err := first(c); err != nil {
					return err
				}
			}
		}, 0},
		"reply": {Config{never, quick, never, 16 << 10, silent}, func(t *testing.T, client net.Conn, c *Conn) error {
			begin(t, client, c, "x")
			c.RequestDone(time.Now())
			_, err := c.Write(make([]byte, 64<<20))
			return err
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			told = 0
			began := time.Now()
			client, c := connect(t, "tcp", w.config)
			assert.ErrorIs(t, w.wait(t, client, c), os.ErrDeadlineExceeded)
			assert.GreaterOrEqual(t, time.Since(began), quick)
			assert.Less(t, time.Since(began), soon)
			assert.Equal(t, w.told, told, "calls of Silent")
		})
	}
}

// A peer that is still sending reads the whole reply, and no reset.
func TestLingeringClose(t *testing.T) {
	client, c := connect(t, "tcp", Config{never, never, never, 16 << 10, nil})
	sent := make(chan error, 1)
	go func() {
		_, err := client.Write(make([]byte, 8<<20))
		sent <- err
		_ = client.(*net.TCPConn).CloseWrite()
	}()
	_, err := first(c)
	require.NoError(t, err)
	c.RequestDone(time.Now())
	_, err = c.Write([]byte("refused"))
	require.NoError(t, err)
	c.LingerOnClose()
	require.NoError(t, c.Close())
	require.NoError(t, c.Close(), "closing twice is closing once")
	require.NoError(t, <-sent)
	reply, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, "refused", string(reply))
}
