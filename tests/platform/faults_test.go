package platform_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

const pong = "example.pong.response"

// The workers' side is left alone unless it is named.
func TestFaultsConcernTheProvidersSide(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	requests := listen(t, e, "name="+platform.StartRequest)
	replies := listen(t, e, "name="+platform.ReplyName(platform.StartRequest))
	c := client(t, e, platform.Claims{Scope: platform.ProviderScope})
	try := func(name string) error {
		_, err := c.Publish(within(t), platform.Message{Name: name, CorrelationID: "c", Payload: 0})
		return err
	}
	broken := platform.Faults{Truncate: true, PublishStatus: 500}
	e.SetFaults(broken)
	if try(platform.StartRequest) == nil {
		t.Fatal("the provider could publish")
	}
	must(t, try(platform.ReplyName(platform.StartRequest)))
	if line := replies.next(t); json.Valid([]byte(line)) {
		t.Fatalf("the provider got %q", line)
	}
	e.SetFaults(platform.Faults{Truncate: true})
	must(t, try(platform.StartRequest))
	equal(t, "the worker's request", requests.correlations(t, 1), []string{"c"})
	broken.Names = []string{platform.ReplyName(platform.StartRequest)}
	e.SetFaults(broken)
	if try(platform.ReplyName(platform.StartRequest)) == nil {
		t.Fatal("the worker could publish under a fault that names its reply")
	}
	must(t, try(platform.StartRequest))
	equal(t, "requests", requests.correlations(t, 1), []string{"c"})
}

func TestPublishFaults(t *testing.T) {
	message := platform.Message{Name: ping, CorrelationID: "c", Payload: 0}
	status := func(want int, kind string) func(*testing.T, error) {
		return func(t *testing.T, err error) {
			t.Helper()
			var refused *platform.StatusError
			if !errors.As(err, &refused) || refused.Status != want || refused.Type != kind {
				t.Fatalf("got %v", err)
			}
		}
	}
	for name, c := range map[string]struct {
		faults    platform.Faults
		processed int
		check     func(*testing.T, error)
	}{
		"500":                     {platform.Faults{PublishStatus: 500}, 0, status(500, "internal_error")},
		"401":                     {platform.Faults{PublishStatus: 401}, 0, status(401, "invalid_auth")},
		"403":                     {platform.Faults{PublishStatus: 403}, 0, status(403, "forbidden")},
		"500 with a garbage body": {platform.Faults{PublishStatus: 500, GarbageBody: true}, 0, status(500, "")},
		"524, processed":          {platform.Faults{AnswerStatus: 524}, 1, status(524, "refused")},
		"403, large headers":      {platform.Faults{PublishStatus: 403, HeaderBytes: 60 << 10}, 0, status(403, "forbidden")},
		"garbage body": {platform.Faults{GarbageBody: true}, 1, func(t *testing.T, err error) {
			var refused *platform.StatusError
			if err == nil || errors.As(err, &refused) {
				t.Fatalf("got %v, want 202 with nonsense", err)
			}
		}},
		"garbage HTTP": {platform.Faults{GarbageHTTP: true}, 0, func(t *testing.T, err error) {
			if err == nil || !strings.Contains(err.Error(), "malformed HTTP") {
				t.Fatalf("got %v", err)
			}
		}},
		"cut": {platform.Faults{CutPublish: true}, 1, func(t *testing.T, err error) {
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("got %v, want a reset", err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEvents(t, platform.EventsConfig{})
			e.SetFaults(c.faults)
			_, err := pinger(t, e).Publish(within(t), message)
			c.check(t, err)
			equal(t, "processed", e.Accepted(ping), c.processed)
			if e.Disturbed() == 0 {
				t.Fatal("the strike was not counted")
			}
			e.SetFaults(platform.Faults{})
			send(t, pinger(t, e), ping, "c", 0)
		})
	}
}

func TestListenFaults(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	open := listen(t, e, "name="+ping)
	c := pinger(t, e)
	for _, status := range []int{500, 401, 403} {
		e.SetFaults(platform.Faults{ListenStatus: status})
		err := c.Listen(within(t), platform.Listen{Name: ping}, nil)
		var refused *platform.StatusError
		if !errors.As(err, &refused) || refused.Status != status {
			t.Fatalf("got %v, want %d", err, status)
		}
	}
	send(t, c, ping, "still", 0)
	equal(t, "the open stream", open.correlations(t, 1), []string{"still"})

	e.SetFaults(platform.Faults{GarbageBody: true})
	status, body := call(t, http.MethodGet, e.URL()+"/api/v1/events/stream?name="+ping,
		platform.Token(platform.DevSecret, platform.Claims{Scope: pingScope}), "", "")
	equal(t, "status", status, http.StatusOK)
	if body == "" || json.Valid([]byte(body)) {
		t.Fatalf("body %q is no noise", body)
	}
}

func TestCutStreams(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	first, second := listen(t, e, "name="+ping), listen(t, e, "name="+ping)
	spared := listen(t, e, "name="+pong)
	equal(t, "cut", e.CutStreams(ping), 2)
	for _, r := range []*reader{first, second} {
		if err := r.end(t); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("got %v, want a reset", err)
		}
	}
	equal(t, "open", e.Listeners(ping), 0)
	send(t, pinger(t, e), pong, "c", 0)
	equal(t, "spared", spared.correlations(t, 1), []string{"c"})
	equal(t, "cut all", e.CutStreams(), 1)

	// What comes right after the cut waits for the group.
	const work = "name=" + ping + "&delivery=unicast&group=g&replay=true"
	c := pinger(t, e)
	for range 10 {
		listen(t, e, work)
		equal(t, "cut", e.CutStreams(ping), 1)
		equal(t, "open", e.Listeners(ping), 0)
		send(t, c, ping, "next", 0)
		equal(t, "work", listen(t, e, work).correlations(t, 1), []string{"next"})
		e.CutStreams(ping)
	}
}

// A stalled API takes connections and requests and says nothing; what it took
// is carried out afterwards, even for a client that has left.
func TestStall(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	stream := listen(t, e, "name="+ping)
	held := listen(t, e, "name="+pong)
	e.SetFaults(platform.Faults{Stall: true})

	conn, err := net.Dial("tcp", strings.TrimPrefix(e.URL(), "http://"))
	must(t, err)
	token := platform.Token(platform.DevSecret, platform.Claims{Scope: pingScope})
	body := `{"name":"` + ping + `","correlationId":"late","payload":0}`
	_, err = fmt.Fprintf(conn, "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", token, len(body), body)
	must(t, err)
	must(t, conn.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	var timeout net.Error
	if _, err := bufio.NewReader(conn).ReadByte(); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("got %v, want silence", err)
	}
	must(t, conn.Close())

	short, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := pinger(t, e).Listen(short, platform.Listen{Name: ping}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want silence", err)
	}
	// The worker's side may publish; nobody hears it yet.
	send(t, pinger(t, e), pong, "queued", 0)
	equal(t, "lines while stalled", len(held.lines), 0)
	equal(t, "processed while stalled", e.Accepted(ping), 0)

	e.SetFaults(platform.Faults{})
	equal(t, "afterwards", stream.correlations(t, 1), []string{"late"})
	equal(t, "queued", held.correlations(t, 1), []string{"queued"})
}

// A half-open stream never speaks again, even after the fault is lifted; a new
// one does.
func TestHalfOpen(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	dead := listen(t, e, "name="+ping)
	c := pinger(t, e)
	send(t, c, ping, "before", 0)
	equal(t, "before", dead.correlations(t, 1), []string{"before"})
	e.SetFaults(platform.Faults{HalfOpen: true})
	also := listen(t, e, "name="+ping)
	send(t, c, ping, "lost", 0)
	e.SetFaults(platform.Faults{})
	fresh := listen(t, e, "name="+ping+"&replay=true")
	send(t, c, ping, "after", 0)
	equal(t, "fresh", fresh.correlations(t, 3), []string{"before", "lost", "after"})
	equal(t, "still open", e.Listeners(ping), 3)
	must(t, e.Stop())
	equal(t, "dead", append(dead.rest(t), also.rest(t)...), []string{})
}

// Delay holds back answers, not the processing, and lines.
func TestDelay(t *testing.T) {
	const delay = 400 * time.Millisecond
	e := startEvents(t, platform.EventsConfig{})
	r := listen(t, e, "name="+pong)
	e.SetFaults(platform.Faults{Delay: delay})
	c, ctx := pinger(t, e), within(t)
	began := time.Now()
	send(t, c, pong, "line", 0) // the worker's side is not slow
	r.correlations(t, 1)
	if took := time.Since(began); took < delay {
		t.Fatalf("delivered after %v", took)
	}

	began = time.Now()
	answered := make(chan error, 3)
	for i := range cap(answered) {
		go func() {
			_, err := c.Publish(ctx, platform.Message{Name: ping, CorrelationID: fmt.Sprint(i), Payload: 0})
			answered <- err
		}()
	}
	must(t, e.WaitAccepted(ctx, ping, cap(answered)))
	if len(answered) > 0 {
		t.Fatal("answered as soon as processed")
	}
	for range cap(answered) {
		must(t, <-answered)
	}
	if took := time.Since(began); took < delay {
		t.Fatalf("answered after %v", took)
	}

	began = time.Now()
	listen(t, e, "name="+ping)
	if took := time.Since(began); took < delay {
		t.Fatalf("opened after %v", took)
	}
}
