package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/server"
)

// A request that outlasts the drain fails when what it waits for ends, and the
// store still takes its end. Nothing ends before what writes to it, whatever
// begins the drain.
func TestOrderOfTheEnd(t *testing.T) {
	for _, failure := range []error{nil, errors.New("a part failed")} {
		var mu sync.Mutex
		var order []string
		note := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, what)
		}
		arrived, partEnded, failed := make(chan bool), make(chan bool), make(chan bool)
		a := &app{config: &config.Config{}, logger: slog.New(slog.DiscardHandler)}
		a.add(func(ctx context.Context) error { // such as the delivery, which notes what was answered
			select {
			case <-ctx.Done():
			case <-failed:
			}
			note("part")
			close(partEnded)
			return failure
		})
		a.last = func(ctx context.Context) error {
			<-ctx.Done()
			note("store")
			return nil
		}
		api := server.New(server.Config{
			Server:   config.Server{HeaderBytes: 16 << 10, ReadTimeout: 20 * time.Second, IdleTimeout: 20 * time.Second, MaxConnections: 9},
			Shutdown: config.Shutdown{Timeout: 50 * time.Millisecond},
			Logger:   a.logger, Metrics: metrics.NewSet(),
		}, func(router fiber.Router) {
			router.Get("/", func(c *fiber.Ctx) error {
				close(arrived)
				<-partEnded
				note("request")
				return c.SendString("told")
			})
		})
		listener, err := server.Listen("127.0.0.1:0", config.Socket{})
		require.NoError(t, err)
		ctx, drain := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		a.stop = drain
		go func() { ended <- a.run(ctx, api, listener) }()
		told := make(chan string, 1)
		go func() {
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			response, err := client.Get("http://" + listener.Addr().String())
			if err != nil {
				told <- err.Error()
				return
			}
			defer response.Body.Close()
			body, _ := io.ReadAll(response.Body)
			told <- string(body)
		}()
		<-arrived
		if failure != nil {
			close(failed)
		} else {
			drain()
		}
		err = <-ended
		drain()
		if failure != nil {
			assert.ErrorIs(t, err, failure)
		}
		assert.Equal(t, []string{"part", "request", "store"}, order)
		assert.Equal(t, "told", <-told)
	}
}
