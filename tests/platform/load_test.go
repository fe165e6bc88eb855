package platform_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// publishers is how many connections a load comes over.
const publishers = 32

// publishAll publishes messages over many connections at once.
func publishAll(ctx context.Context, c *platform.Client, n int, message func(int) platform.Message) error {
	var tasks sync.WaitGroup
	errs := make(chan error, publishers)
	for k := range publishers {
		tasks.Go(func() {
			for i := k; i < n; i += publishers {
				if _, err := c.Publish(ctx, message(i)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	tasks.Wait()
	close(errs)
	return <-errs
}

// A thousand writes in flight: every reply comes, once, to its own question.
func TestThousandWritesInFlight(t *testing.T) {
	const writes = 1000
	p := startPlatform(t, platform.Config{})
	a := newAsker(t, p)
	p.VM.SetBehaviour(platform.Behaviour{Hold: writes, Echo: true})
	var want []string
	for i := range writes {
		want = append(want, fmt.Sprint(i))
	}
	must(t, publishAll(within(t), a.client, writes, func(i int) platform.Message {
		return platform.Message{Name: platform.StartRequest, CorrelationID: want[i],
			Payload: object{"runtime": "default", "account_id": account, "request_id": "r-" + want[i]}}
	}))
	var got []string
	for range writes {
		var r struct {
			CorrelationID string
			Payload       struct {
				Details struct {
					RequestID string `json:"request_id"`
				}
			}
		}
		must(t, json.Unmarshal([]byte(a.replies[platform.StartRequest].next(t)), &r))
		equal(t, "request id", r.Payload.Details.RequestID, "r-"+r.CorrelationID)
		got = append(got, r.CorrelationID)
	}
	slices.Sort(got)
	slices.Sort(want)
	equal(t, "replies", got, want)
	equal(t, "breaches", p.VM.Violations(), nil)
}

// Ten thousand events in another order, some twice, strangers among them: each
// arrives.
func TestTenThousandOutOfOrder(t *testing.T) {
	const events = 10_000
	e := startEvents(t, platform.EventsConfig{})
	r := listen(t, e, "name="+pong)
	e.SetFaults(platform.Faults{Reorder: 1000, Duplicate: true, Strangers: 1, Rate: 0.2})
	must(t, publishAll(within(t), pinger(t, e), events, func(i int) platform.Message {
		return platform.Message{Name: pong, CorrelationID: fmt.Sprint(i), Payload: i}
	}))
	seen := map[string]int{}
	lines, ordered, last := 0, true, -1
	for len(seen) < events {
		var env struct {
			CorrelationID string
			Payload       int
		}
		must(t, json.Unmarshal([]byte(r.next(t)), &env))
		lines++
		if env.CorrelationID == fmt.Sprint(env.Payload) {
			seen[env.CorrelationID]++
			ordered = ordered && env.Payload >= last
			last = env.Payload
		}
	}
	if ordered {
		t.Fatal("in order")
	}
	twice := 0
	for id, n := range seen {
		if n > 2 {
			t.Fatalf("%s came %d times", id, n)
		}
		twice += n - 1
	}
	strangers := lines - events - twice
	// A fifth of each, give or take.
	for what, n := range map[string]int{"duplicates": twice, "strangers": strangers} {
		if n < events/8 || n > events/3 {
			t.Fatalf("%d %s in %d", n, what, events)
		}
	}
}

// BenchmarkPublishDeliver is one event from a publisher through the API to one
// listener, both of them in this process too.
func BenchmarkPublishDeliver(b *testing.B) {
	e := platform.NewEvents(platform.EventsConfig{})
	if err := e.Start(); err != nil {
		b.Fatal(err)
	}
	defer e.Stop()
	c := platform.NewClient(e.URL(), platform.Token(platform.DevSecret, platform.Claims{Scope: pingScope}))
	defer c.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	delivered := make(chan struct{})
	go func() {
		n := 0
		_ = c.Listen(ctx, platform.Listen{Name: ping}, func(platform.Envelope) { // ends with ctx
			if n++; n == b.N {
				close(delivered)
			}
		})
	}()
	if err := e.WaitListeners(ctx, ping, 1); err != nil {
		b.Fatal(err)
	}
	payload := json.RawMessage(`{"runtime":"default","account_id":"` + account + `","request_id":"r"}`)
	b.ReportAllocs()
	b.ResetTimer()
	if err := publishAll(ctx, c, b.N, func(int) platform.Message {
		return platform.Message{Name: ping, CorrelationID: account, Payload: payload}
	}); err != nil {
		b.Fatal(err)
	}
	<-delivered
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkRequestReply is one request through the API to a worker and its
// reply back.
func BenchmarkRequestReply(b *testing.B) {
	p, err := platform.Start(platform.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	c := platform.NewClient(p.URL(), p.ProviderToken())
	defer c.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	delivered := make(chan struct{})
	reply := platform.ReplyName(platform.StatusRequest)
	go func() {
		n := 0
		_ = c.Listen(ctx, platform.Listen{Name: reply}, func(platform.Envelope) { // ends with ctx
			if n++; n == b.N {
				close(delivered)
			}
		})
	}()
	if err := p.Events.WaitListeners(ctx, reply, 1); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	if err := publishAll(ctx, c, b.N, func(i int) platform.Message {
		return platform.Message{Name: platform.StatusRequest, CorrelationID: fmt.Sprint(i), Payload: object{"runtime": "default"}}
	}); err != nil {
		b.Fatal(err)
	}
	<-delivered
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}
