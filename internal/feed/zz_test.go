package feed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
)

type rt struct{ *snapshot.Keeper }

func (r rt) See(ctx context.Context) (*snapshot.Seen, error) { return r.Read(ctx) }

type zreader struct {
	last, status string
	at           time.Time // asked at, of the status
}

func TestZZ(t *testing.T) {
	for seed := range uint64(3000) {
		synctest.Test(t, func(t *testing.T) { zz(t, seed) })
	}
}

func zz(t *testing.T, seed uint64) {
	var mu sync.Mutex
	g := rand.New(rand.NewPCG(seed, 1))
	calm := false
	state, detail := "ready", 0
	ms := func(n int) time.Duration { mu.Lock(); defer mu.Unlock(); return time.Duration(g.IntN(n)) * time.Millisecond }
	n := func(k int) int { mu.Lock(); defer mu.Unlock(); return g.IntN(k) }
	k := snapshot.New(snapshot.Config{Fetch: func(ctx context.Context) (snapshot.Status, error) {
		asked := time.Now()
		time.Sleep(ms(1800))
		mu.Lock()
		s, d, c := state, detail, calm
		mu.Unlock()
		time.Sleep(ms(1800))
		if n(4) == 0 && !c {
			if n(2) == 0 {
				select {
				case <-time.After(3 * time.Second):
				case <-ctx.Done():
				}
			}
			return snapshot.Status{}, errors.New("away")
		}
		return snapshot.Status{State: s, Provider: "p", Details: fmt.Appendf(nil, `{"asked":%d,"d":%d}`, asked.UnixNano()*int64(map[bool]int{true: 0, false: 1}[c]), d)}, nil
	}, MaxAge: 4 * time.Second, Refresh: time.Second, RefreshMoving: 500 * time.Millisecond, Timeout: 5 * time.Second, Streams: 1, Metrics: metrics.NewSet()})
	k.Stream(true)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	ops := map[string]Operation{}
	f := New(Config{Runtime: rt{k}, Over: over, Metrics: metrics.NewSet(), Recent: func(context.Context, Reader) ([]Operation, error) {
		time.Sleep(ms(100))
		mu.Lock()
		defer mu.Unlock()
		var l []Operation
		for _, o := range ops {
			l = append(l, o)
		}
		return l, nil
	}})
	var parts, readers sync.WaitGroup
	parts.Go(func() { _ = k.Run(ctx) })
	parts.Go(func() { _ = f.Run(ctx) })
	end := time.Now().Add(90 * time.Second)
	final := end.Add(30 * time.Second)
	var lastAccepted time.Time
	readers.Go(func() {
		for i := 0; time.Now().Before(end.Add(-1 * time.Second)); i++ {
			time.Sleep(ms(map[bool]int{true: 400, false: 6000}[n(2) == 0]))
			switch n(5) {
			case 0:
				mu.Lock()
				state = []string{"ready", "stopped", "starting"}[g.IntN(3)]
				mu.Unlock()
			case 1:
				mu.Lock()
				detail = g.IntN(3)
				mu.Unlock()
			case 2:
				k.Stream(false)
				time.Sleep(ms(1000))
				k.Stream(true)
			default:
				mu.Lock()
				state = []string{"ready", "stopped", "starting"}[g.IntN(3)]
				mu.Unlock()
				k.Accepted("ready", n(2) == 0)
				mu.Lock()
				lastAccepted = time.Now()
				op := Operation{ID: fmt.Sprint(i % 3), Account: "a", Stage: i, Document: fmt.Appendf(nil, `{"id":%d}`, i)}
				ops[op.ID] = op
				mu.Unlock()
				f.Publish(op)
			}
		}
		mu.Lock()
		calm = true
		mu.Unlock()
	})
	all := make([]zreader, 4)
	trace := make([][]string, 4)
	for i := range all {
		r := &all[i]
		readers.Go(func() {
			for time.Now().Before(final) {
				until := time.Now().Add(ms(4000))
				if n(4) == 0 {
					*r = zreader{}
				}
				if time.Now().After(end) {
					until = final.Add(time.Minute)
				}
				sctx, stop := context.WithDeadline(ctx, until)
				if until.After(final) {
					sctx, stop = context.WithDeadline(ctx, final.Add(time.Second))
				}
				mu.Lock()
				acc := lastAccepted
				mu.Unlock()
				opened := time.Now()
				s, err := f.Subscribe(sctx, Reader{Account: "a"}, r.last)
				trace[i] = append(trace[i], fmt.Sprintf("%v open after %s: %v", time.Now().Format("05.000"), r.last, err))
				if err != nil {
					stop()
					time.Sleep(ms(500))
					continue
				}
				backlog := map[string]bool{}
				if err == nil {
					for _, e := range s.first {
						backlog[string(e.text)] = true
					}
				}
				var unread []byte
				for {
					p := make([]byte, 500)
					c, err := s.Read(p)
					if err != nil {
						break
					}
					unread = append(unread, p[:c]...)
					for {
						whole, rest, ok := bytes.Cut(unread, []byte("\n\n"))
						if !ok {
							break
						}
						unread = rest
						text := string(whole)
						trace[i] = append(trace[i], fmt.Sprintf("%v %q", time.Now().Format("05.000"), text))
						if id, ok := strings.CutPrefix(text, "id: "); ok {
							r.last, _, _ = strings.Cut(id, "\n")
							if strings.Contains(text, "event: reset") {
								r.status = ""
							}
							if _, data, ok := strings.Cut(text, "event: status\ndata: "); ok {
								r.status = data
								var d struct{ Details struct{ Asked int64 } }
								_ = json.Unmarshal([]byte(data), &d)
								asked := time.Unix(0, d.Details.Asked)
								if d.Details.Asked != 0 && !backlog[text+"\n\n"] && (asked.Before(acc) || asked.Before(opened.Add(-4*time.Second))) {
									t.Errorf("seed %d: asked %v shown to one opened %v after %v\n%s", seed, asked.Format("05.000"), opened.Format("05.000"), acc.Format("05.000"), strings.Join(trace[i][max(0, len(trace[i])-10):], "\n"))
								}
							}
						}
					}
				}
				_ = s.Close()
				stop()
				time.Sleep(ms(300))
			}
		})
	}
	readers.Wait()
	seen := k.Latest().Seen
	want := "none"
	if seen != nil {
		want = string(status(seen).Document)
	}
	for i, r := range all {
		if r.status != want {
			t.Errorf("seed %d reader %d has %s, want %s (accepted %v)\n%s", seed, i, r.status, want, lastAccepted.Format("05.000"), strings.Join(trace[i][max(0, len(trace[i])-30):], "\n"))
		}
	}
	_ = json.Valid
	cancel()
	parts.Wait()
}
