package server

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// starved is a listener that fails while it is short of something.
type starved struct {
	net.Listener
	short  atomic.Bool
	closed atomic.Bool
}

func (l *starved) Accept() (net.Conn, error) {
	switch {
	case l.closed.Load():
		return nil, net.ErrClosed
	case l.short.Load():
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	c, _ := net.Pipe()
	return c, nil
}

func (l *starved) Addr() net.Addr { return &net.TCPAddr{} }

func (l *starved) Close() error {
	l.closed.Store(true)
	return nil
}

// Accept returns soon after there is something to accept, and after it is closed;
// one line tells of all failures that follow each other within a minute.
func TestKeepAccepting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		set := metrics.NewSet()
		inner := &starved{}
		l := KeepAccepting(inner, "api", slog.New(slog.NewTextHandler(&logged, nil)), set)
		spell := func(lasts time.Duration) {
			inner.short.Store(true)
			time.AfterFunc(lasts, func() { inner.short.Store(false) })
			began := time.Now()
			_, err := l.Accept()
			require.NoError(t, err)
			assert.LessOrEqual(t, time.Since(began), lasts+longestPause)
		}
		for range 3 {
			spell(2 * time.Minute)
			time.Sleep(calm / 2)
		}
		assert.Equal(t, 1, strings.Count(logged.String(), "cannot accept connections"))
		time.Sleep(calm)
		spell(time.Second)
		assert.Equal(t, 2, strings.Count(logged.String(), "cannot accept connections"), "%s", &logged)
		assert.Contains(t, logged.String(), `cause="accept: too many open files" do="raise the limit of open files`)
		failures := l.(*accepting).failures.Get()
		assert.Greater(t, failures, uint64(1000))
		assert.Less(t, failures, uint64(6*60*1000/100), "it pauses")

		inner.short.Store(true)
		time.AfterFunc(time.Minute, func() { assert.NoError(t, l.Close()) })
		began := time.Now()
		_, err := l.Accept()
		assert.ErrorIs(t, err, net.ErrClosed)
		assert.LessOrEqual(t, time.Since(began), time.Minute+longestPause)
	})
}
