package app

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/admin"
	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/secret"
	"github.com/busdk/bus-api-provider-vm/internal/store"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/postgres"
)

// refusing is a usage integration that takes nothing.
type refusing struct{}

func (refusing) Send(context.Context, string, usage.Record) error {
	return fmt.Errorf("%w: no such plan", usage.ErrRefused)
}

// service runs a store as the service does, with an admin listener on socket, and
// returns once n records are parked.
func service(t *testing.T, c *config.Config, socket string, n int) (end func()) {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	settings, err := storeConfig(c, logger, metrics.NewSet())
	require.NoError(t, err)
	s, err := store.Open(t.Context(), settings)
	require.NoError(t, err)
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	end = harness.Run(t, s.Run,
		func(ctx context.Context) error { return s.Deliver(ctx, refusing{}.Send) },
		func(ctx context.Context) error {
			return admin.Serve(ctx, listener, admin.Config{Metrics: metrics.NewSet(), Logger: logger, Endpoints: endpoints(s, logger)})
		})
	for range n {
		_, err = s.Begin(t.Context(), lifecycle.Write{Operation: lifecycle.Operation{ID: uuid.NewString(), Action: lifecycle.Start, Account: uuid.NewString(), RequestID: "r"}})
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return s.Stats().Parked >= n }, 20*time.Second, 5*time.Millisecond)
	return end
}

// fromAPage is the answer to a page of another origin, which a browser could be
// led to ask from.
func fromAPage(t *testing.T, socket string) (status int) {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprint(conn, "POST /usage/retry HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.test\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 0\r\n\r\n")
	require.NoError(t, err)
	reply, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer reply.Body.Close()
	return reply.StatusCode
}

// The commands do the same on PostgreSQL, on a data directory, and through the
// admin listener of the service that holds it.
func TestManageUsage(t *testing.T) {
	settings := func(t *testing.T) *config.Config {
		c := &config.Config{}
		c.Timeout = time.Minute
		c.Usage.Backend, c.Store.Keep, c.DataDir = config.Events, 720*time.Hour, filepath.Join(t.TempDir(), "data")
		c.Admin.Addr = "unix:" + filepath.Join(t.TempDir(), "s")
		return c
	}
	test := func(t *testing.T, c *config.Config, running bool) {
		end := service(t, c, strings.TrimPrefix(c.Admin.Addr, "unix:"), 2)
		if running {
			defer end()
		} else {
			end()
		}
		var log strings.Builder
		manage := func(command, eventID string) (result struct {
			Parked  []store.Parked
			Retried int
			Dropped string
		}, err error) {
			text, err := ManageUsage(t.Context(), c, &log, command, eventID)
			if err == nil {
				err = json.Unmarshal(text, &result)
			}
			return result, err
		}
		listed, err := manage("list", "")
		require.NoError(t, err)
		require.Len(t, listed.Parked, 2, "listing offers nothing again")
		assert.Contains(t, listed.Parked[0].Reason, "no such plan")
		id := listed.Parked[0].EventID
		_, err = manage("drop", "another")
		assert.ErrorContains(t, err, `no parked record has the event id "another"`)
		dropped, err := manage("drop", id)
		require.NoError(t, err)
		assert.Equal(t, id, dropped.Dropped)
		_, err = manage("drop", id)
		assert.ErrorContains(t, err, "no parked record")
		retried, err := manage("retry", "")
		require.NoError(t, err)
		assert.Equal(t, 1, retried.Retried)
		if running {
			assert.Equal(t, http.StatusForbidden, fromAPage(t, strings.TrimPrefix(c.Admin.Addr, "unix:")))
		} else {
			assert.Contains(t, log.String(), `msg="audit: an operator dropped`)
			assert.Contains(t, log.String(), "event_id="+id)
		}
	}
	t.Run("PostgreSQL, whose URL is in a file", func(t *testing.T) {
		c := settings(t)
		c.Store.URLFile = filepath.Join(t.TempDir(), "url")
		require.NoError(t, os.WriteFile(c.Store.URLFile, []byte(postgres.Start(t).Database()), 0o600))
		test(t, c, false)
	})
	t.Run("PostgreSQL, while the service runs", func(t *testing.T) {
		c := settings(t)
		c.Store.URL = secret.New(postgres.Start(t).Database())
		end := service(t, c, strings.TrimPrefix(c.Admin.Addr, "unix:"), 1)
		defer end()
		text, err := ManageUsage(t.Context(), c, &strings.Builder{}, "retry", "")
		require.NoError(t, err)
		assert.JSONEq(t, `{"retried":1}`, string(text))
	})
	t.Run("data directory", func(t *testing.T) { test(t, settings(t), false) })
	t.Run("data directory, while the service runs", func(t *testing.T) { test(t, settings(t), true) })
	t.Run("no data directory", func(t *testing.T) {
		c := settings(t)
		_, err := ManageUsage(t.Context(), c, &strings.Builder{}, "list", "")
		assert.ErrorContains(t, err, "there is no operations store")
		assert.NoDirExists(t, c.DataDir)
	})
}
