package platform_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

const (
	patience = time.Minute
	account  = "00000000-0000-4000-8000-000000000001"
	// ping is an unprotected event name.
	ping      = "example.ping"
	pingScope = "events:send events:listen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

func startEvents(t *testing.T, cfg platform.EventsConfig) *platform.Events {
	t.Helper()
	e := platform.NewEvents(cfg)
	must(t, e.Start())
	t.Cleanup(func() {
		if err := e.Stop(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func startPlatform(t *testing.T, cfg platform.Config) *platform.Platform {
	t.Helper()
	p, err := platform.Start(cfg)
	must(t, err)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// pinger is a client with the scopes of unprotected names.
func pinger(t *testing.T, e *platform.Events) *platform.Client {
	return client(t, e, platform.Claims{Scope: pingScope})
}

func client(t *testing.T, e *platform.Events, claims platform.Claims) *platform.Client {
	t.Helper()
	c := platform.NewClient(e.URL(), platform.Token(platform.DevSecret, claims))
	t.Cleanup(c.Close)
	return c
}

func send(t *testing.T, c *platform.Client, name, correlation string, payload any) string {
	t.Helper()
	id, err := c.Publish(within(t), platform.Message{Name: name, CorrelationID: correlation, Payload: payload})
	must(t, err)
	return id
}

// call makes one request and returns the whole answer.
func call(t *testing.T, method, url, token, kind, body string) (status int, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t), method, url, strings.NewReader(body))
	must(t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	res, err := transport(t).RoundTrip(req)
	must(t, err)
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	must(t, err)
	return res.StatusCode, string(all)
}

func transport(t *testing.T) *http.Transport {
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// reader is a stream read as raw lines, line ends included.
type reader struct {
	lines  chan string
	ended  chan error // what ended the body, nil for an orderly end
	cancel context.CancelFunc
}

// listen opens a stream as the shared identity and returns once its headers
// are there.
func listen(t *testing.T, e *platform.Events, query string) *reader {
	t.Helper()
	return listenAs(t, e, platform.Claims{Scope: pingScope + " " + platform.ProviderScope}, query)
}

func listenAs(t *testing.T, e *platform.Events, claims platform.Claims, query string) *reader {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.URL()+"/api/v1/events/stream?"+query, nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+platform.Token(platform.DevSecret, claims))
	res, err := transport(t).RoundTrip(req)
	must(t, err)
	equal(t, "status of the stream", res.StatusCode, http.StatusOK)
	equal(t, "content type", res.Header.Get("Content-Type"), "application/x-ndjson")

	r := &reader{lines: make(chan string, 1<<15), ended: make(chan error, 1), cancel: cancel}
	go func() {
		defer close(r.lines)
		in := bufio.NewReader(res.Body)
		for {
			line, err := in.ReadString('\n')
			if line != "" {
				r.lines <- line
			}
			if err != nil {
				_ = res.Body.Close()
				if err == io.EOF {
					err = nil
				}
				r.ended <- err
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		for range r.lines {
		}
	})
	return r
}

// next returns the next line.
func (r *reader) next(t *testing.T) string {
	t.Helper()
	select {
	case line, ok := <-r.lines:
		if !ok {
			t.Fatal("the stream ended")
		}
		return line
	case <-time.After(patience):
		t.Fatal("no line came")
	}
	return ""
}

// correlations returns the correlation ids of the next n envelopes.
func (r *reader) correlations(t *testing.T, n int) []string {
	t.Helper()
	var ids []string
	for range n {
		var env struct {
			CorrelationID string `json:"correlationId"`
		}
		must(t, json.Unmarshal([]byte(r.next(t)), &env))
		ids = append(ids, env.CorrelationID)
	}
	return ids
}

// rest returns the correlation ids up to the end of the stream.
func (r *reader) rest(t *testing.T) []string {
	t.Helper()
	ids := []string{}
	for line := range r.lines {
		var env struct {
			CorrelationID string `json:"correlationId"`
		}
		must(t, json.Unmarshal([]byte(line), &env))
		ids = append(ids, env.CorrelationID)
	}
	return ids
}

// end waits for the end of the stream.
func (r *reader) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(patience):
		t.Fatal("the stream did not end")
		return nil
	}
}
