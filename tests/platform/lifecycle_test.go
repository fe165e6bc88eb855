package platform_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

func TestStopEndsStreamsInOrderAndRefusesConnections(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	r := listen(t, e, "name="+ping)
	must(t, e.Stop())
	must(t, r.end(t))
	_, err := pinger(t, e).Publish(within(t), platform.Message{Name: ping, Payload: 0})
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("got %v, want a refused connection", err)
	}
	must(t, e.Stop()) // a second Stop is nothing
}

func TestKillResetsEverythingAtOnce(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	streams := []*reader{listen(t, e, "name="+ping), listen(t, e, "name="+ping)}
	idle, err := net.Dial("tcp", strings.TrimPrefix(e.URL(), "http://"))
	must(t, err)
	defer idle.Close()
	// A request in flight: processed, and its answer held back.
	e.SetFaults(platform.Faults{Delay: time.Hour})
	inFlight := make(chan error, 1)
	c, ctx := pinger(t, e), within(t)
	go func() {
		_, err := c.Publish(ctx, platform.Message{Name: ping, Payload: 0})
		inFlight <- err
	}()
	must(t, e.WaitAccepted(ctx, ping, 1))
	must(t, e.Kill())
	for _, r := range streams {
		if err := r.end(t); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("stream: got %v, want a reset", err)
		}
	}
	if err := <-inFlight; !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("request in flight: got %v, want a reset", err)
	}
	if _, err := idle.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("idle connection: got %v, want a reset", err)
	}
}

func TestRestartKeepsTheAddressAndWhatItIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*platform.Events) error
		keep bool
		want []string
	}{
		"stopped, history kept": {(*platform.Events).Stop, true, []string{"old", "new"}},
		"stopped, history lost": {(*platform.Events).Stop, false, []string{"new"}},
		"killed, history kept":  {(*platform.Events).Kill, true, []string{"old", "new"}},
		"killed, history lost":  {(*platform.Events).Kill, false, []string{"new"}},
		"running, history kept": {func(*platform.Events) error { return nil }, true, []string{"old", "new"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEvents(t, platform.EventsConfig{})
			url := e.URL()
			send(t, pinger(t, e), ping, "old", 0)
			must(t, c.end(e))
			must(t, e.Restart(c.keep))
			equal(t, "URL", e.URL(), url)
			send(t, pinger(t, e), ping, "new", 0)
			got := listen(t, e, "name="+ping+"&replay=true&follow=false").rest(t)
			equal(t, "history", got, c.want)
		})
	}
}

func TestStartTakesAnAddressOnce(t *testing.T) {
	first := startEvents(t, platform.EventsConfig{})
	if err := first.Start(); err == nil {
		t.Fatal("started twice")
	}
	second := platform.NewEvents(platform.EventsConfig{Addr: strings.TrimPrefix(first.URL(), "http://")})
	if err := second.Start(); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("got %v, want an address in use", err)
	}
}

// Kill during heavy traffic leaves no handler behind, and the next life serves.
func TestKillUnderTraffic(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	c := pinger(t, e)
	for range 5 {
		ctx, cancel := context.WithCancel(within(t))
		done := make(chan struct{})
		before := e.Accepted(ping)
		for range 8 {
			go func() {
				defer func() { done <- struct{}{} }()
				for ctx.Err() == nil {
					_, _ = c.Publish(ctx, platform.Message{Name: ping, Payload: 0}) // some must fail
				}
			}()
		}
		must(t, e.WaitAccepted(within(t), ping, before+50))
		must(t, e.Kill())
		must(t, e.Restart(true))
		cancel()
		for range 8 {
			<-done
		}
	}
	status, _ := call(t, http.MethodGet, e.URL()+"/api/v1/events/stream?follow=false&name="+ping,
		platform.Token(platform.DevSecret, platform.Claims{Scope: pingScope}), "", "")
	equal(t, "status", status, http.StatusOK)
}
