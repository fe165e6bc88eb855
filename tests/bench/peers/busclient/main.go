// Command busclient is the plain way to carry out a write: for each request the
// same four events as the gateway publishes, and their replies off the same
// streams. It checks no token, keeps nothing on disk and never tries again.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"

	"github.com/busdk/bus-api-provider-vm/tests/bench/peers/wire"
)

// waitLimit bounds the wait for a reply.
const waitLimit = 10 * time.Second

const startRequest = "bus.vm.start.request"

const account = "00000000-0000-4000-8000-000000000001"

var accepted = []byte(`{"accepted":true,"action":"start"}`)

// client talks to the Events API at root with token.
type client struct {
	collection, token string
	posts             fasthttp.HostClient
	// starts publishes start requests, on a connection each; nil where they go
	// out with the others.
	starts *fasthttp.HostClient

	mu      sync.Mutex
	waiting map[string]chan struct{} // by correlation id
}

// The address of the Events API is the second argument, its token in the
// environment; with a third argument each start has a connection of its own.
func main() {
	if len(os.Args) < 3 {
		fmt.Fprintf(os.Stderr, "usage: %s host:port events-host:port [fresh]\n", os.Args[0])
		os.Exit(2)
	}
	c := &client{
		collection: "http://" + os.Args[2] + "/api/v1/events",
		token:      "Bearer " + os.Getenv("BUS_API_TOKEN"),
		posts:      fasthttp.HostClient{Addr: os.Args[2], MaxConns: 512},
		waiting:    map[string]chan struct{}{},
	}
	if len(os.Args) > 3 {
		c.starts = &fasthttp.HostClient{Addr: os.Args[2], MaxConns: 512}
	}
	opened := make(chan error)
	names := []string{"bus.billing.entitlement.check.response", "bus.vm.start.response", "bus.usage.record.response"}
	for _, name := range names {
		go c.listen(name, opened)
	}
	for range names {
		if err := <-opened; err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	server := &fasthttp.Server{Handler: c.start}
	wire.Serve(func(l net.Listener) error { return server.Serve(l) })
}

// listen wakes the requests whose replies come in on one stream.
func (c *client) listen(name string, opened chan<- error) {
	request, err := http.NewRequest(http.MethodGet, c.collection+"/stream?delivery=broadcast&name="+name, nil)
	if err != nil {
		opened <- err
		return
	}
	request.Header.Set("Authorization", c.token)
	response, err := http.DefaultTransport.RoundTrip(request)
	opened <- err
	if err != nil {
		return
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		var envelope struct {
			CorrelationID string `json:"correlationId"`
		}
		if json.Unmarshal(lines.Bytes(), &envelope) != nil {
			continue
		}
		c.mu.Lock()
		waiter := c.waiting[envelope.CorrelationID]
		delete(c.waiting, envelope.CorrelationID)
		c.mu.Unlock()
		if waiter != nil {
			close(waiter)
		}
	}
}

// start carries out one write; its usage records go out on the side.
func (c *client) start(ctx *fasthttp.RequestCtx) {
	id := uuid.NewString()
	began := time.Now()
	requested := make(chan struct{})
	err := c.ask("bus.billing.entitlement.check.request", map[string]any{"account_id": account, "scope": "vm:write"})
	if err == nil {
		go func() {
			defer close(requested)
			c.record("runtime_start_requested", id, began, nil)
		}()
		err = c.ask(startRequest, map[string]any{"runtime": "default", "account_id": account, "request_id": id})
	}
	if err != nil {
		ctx.Error(err.Error(), fasthttp.StatusServiceUnavailable)
		return
	}
	took := time.Since(began).Milliseconds()
	go func() {
		<-requested // records of an operation go out in order
		c.record("runtime_start_finished", id, began, map[string]any{"outcome": "accepted", "duration_ms": took})
	}()
	ctx.SetStatusCode(fasthttp.StatusAccepted)
	ctx.SetContentType(wire.Type)
	ctx.SetBody(accepted)
}

func (c *client) record(event, id string, at time.Time, more map[string]any) {
	data := map[string]any{"action": "start", "request_id": id, "runtime": "default"}
	for name, value := range more {
		data[name] = value
	}
	err := c.ask("bus.usage.record.request", map[string]any{
		"event_type": event, "event_id": id + "-" + event, "account_id": account,
		"occurred_at": at.UTC().Format(time.RFC3339Nano), "data": data,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// ask publishes one request and waits for its reply.
func (c *client) ask(name string, payload map[string]any) error {
	id := uuid.NewString()
	body, err := json.Marshal(map[string]any{"name": name, "correlationId": id, "payload": payload})
	if err != nil {
		return err
	}
	replied := make(chan struct{})
	c.mu.Lock()
	c.waiting[id] = replied
	c.mu.Unlock()

	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.Header.SetMethod(fasthttp.MethodPost)
	request.SetRequestURI(c.collection)
	request.Header.Set(fasthttp.HeaderAuthorization, c.token)
	request.Header.SetContentType(wire.Type)
	request.SetBodyRaw(body)
	posts := &c.posts
	if c.starts != nil && name == startRequest {
		posts = c.starts
		request.SetConnectionClose()
	}
	if err := posts.Do(request, response); err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	if status := response.StatusCode(); status >= fasthttp.StatusBadRequest {
		return fmt.Errorf("publish %s: status %d: %s", name, status, response.Body())
	}
	select {
	case <-replied:
		return nil
	case <-time.After(waitLimit):
		return fmt.Errorf("%s: no reply", name)
	}
}
