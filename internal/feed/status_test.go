package feed

import (
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
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
)

// kept is a Runtime of a real snapshot.
type kept struct{ *snapshot.Keeper }

func (k kept) See(ctx context.Context) (*snapshot.Seen, error) { return k.Read(ctx) }

// A worker that is slow and fails, writes that are accepted, lost reply streams, and readers
// who are cut off at random: no stream that begins has a status from before a write that was
// accepted by then, or one that is too old, and in the end each reader has the last status.
func TestStatusThroughCuts(t *testing.T) {
	const lives, readers, maxAge = 300, 4, 4 * time.Second
	all := dice(t, 2*lives+lives*readers)
	for life := range lives {
		synctest.Test(t, func(t *testing.T) {
			worker, writer := all[2*life], all[2*life+1]
			ms := func(dice *rand.Rand, most int) time.Duration {
				return time.Duration(dice.IntN(most)) * time.Millisecond
			}
			var mu sync.Mutex
			state, calm, accepted := "ready", false, time.Time{}
			k := snapshot.New(snapshot.Config{
				MaxAge: maxAge, Refresh: time.Second, RefreshMoving: time.Second / 2, Timeout: 5 * time.Second, Streams: 1, Metrics: metrics.NewSet(),
				Fetch: func(context.Context) (snapshot.Status, error) {
					asked := time.Now()
					time.Sleep(ms(worker, 1800))
					mu.Lock()
					now, calm := state, calm
					mu.Unlock()
					time.Sleep(ms(worker, 1800))
					if calm {
						asked = time.Time{} // it changes no more
					} else if worker.IntN(4) == 0 {
						return snapshot.Status{}, errors.New("no answer")
					}
					return snapshot.Status{State: now, Details: fmt.Appendf(nil, `{"asked":%q}`, asked.Format(time.RFC3339Nano))}, nil
				},
			})
			f := New(Config{Runtime: kept{k}, Metrics: metrics.NewSet(), Recent: func(context.Context, Reader) ([]Operation, error) { return nil, nil }})
			ctx, stop := context.WithCancel(t.Context())
			var parts, clients sync.WaitGroup
			parts.Go(func() { _ = k.Run(ctx) })
			parts.Go(func() { _ = f.Run(ctx) })
			k.Stream(true)
			calmAt := time.Now().Add(time.Minute)
			clients.Go(func() {
				for n := 1; time.Now().Before(calmAt); n++ {
					time.Sleep(ms(writer, 1+writer.IntN(6000)))
					mu.Lock()
					state = []string{"ready", "stopped", "starting"}[writer.IntN(3)]
					mu.Unlock()
					if writer.IntN(4) == 0 {
						k.Stream(false)
						time.Sleep(ms(writer, 1000))
						k.Stream(true)
						continue
					}
					k.Accepted("ready", writer.IntN(2) == 0)
					mu.Lock()
					accepted = time.Now()
					mu.Unlock()
					f.Publish(Operation{ID: "x", Account: "a", Stage: n, Document: []byte("{}")})
				}
				mu.Lock()
				defer mu.Unlock()
				calm = true
			})
			for i := range readers {
				dice := all[2*lives+life*readers+i]
				clients.Go(func() {
					r, final := reader{Rand: dice}, false
					for !final {
						final = time.Since(calmAt) > 2*time.Second
						if dice.IntN(4) == 0 {
							r = reader{Rand: dice}
						}
						reading, cut := context.WithTimeout(ctx, map[bool]time.Duration{true: time.Minute, false: ms(dice, 4000)}[final])
						mu.Lock()
						since := accepted
						mu.Unlock()
						oldest := time.Now().Add(-maxAge)
						if s, err := f.Subscribe(reading, Reader{Account: "a"}, r.last); err == nil {
							told := len(r.events) + len(s.first) // what it missed is what was so then
							_ = r.reads(s, 1<<30, func() bool { return false })
							for _, event := range r.events[min(told, len(r.events)):] {
								var shown struct{ Details struct{ Asked time.Time } }
								if data, ok := strings.CutPrefix(event, "event: status\ndata: "); ok && json.Unmarshal([]byte(data), &shown) == nil && !shown.Details.Asked.IsZero() {
									assert.False(t, shown.Details.Asked.Before(since) || shown.Details.Asked.Before(oldest), "%s since %s and %s", event, since, oldest)
								}
							}
							assert.NoError(t, s.Close())
						}
						cut()
					}
					last := ""
					for _, event := range r.events {
						if !strings.HasPrefix(event, "event: operation") {
							last = event
						}
					}
					assert.Equal(t, "event: status\ndata: "+string(status(k.Latest().Seen).Document), last)
				})
			}
			clients.Wait()
			stop()
			parts.Wait()
		})
	}
}

// A status that could not be shown when a stream began is not told to it later.
func TestOldStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.is("ready", "")
		time.Sleep(time.Hour)
		w.unseen = errors.New("the worker is away")
		first := w.open(Reader{}, "")
		other := w.open(Reader{}, "")
		require.Empty(t, w.told(first)+w.told(other))
		w.is("ready", "")
		for _, s := range []*Stream{first, other} {
			require.Equal(t, statusText(1, "ready"), w.told(s))
			require.NoError(t, s.Close())
		}
	})
}

// One who waits for a status and is cut off after another event is sent everything again.
func TestCutBeforeTheStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.is("ready", "")
		w.unseen = errors.New("the worker is away")
		time.Sleep(time.Second)
		s := w.open(Reader{Account: "a"}, "")
		document := w.changes("a", "x")
		require.Equal(t, operationText(0, document), w.told(s))
		require.NoError(t, s.Close())

		w.unseen = nil
		w.is("ready", "")
		s = w.open(Reader{Account: "a"}, w.boot+".0")
		require.Equal(t, resetText+statusText(0, "ready")+operationText(2, document), w.told(s))
		before := time.Now()
		time.Sleep(time.Second)
		w.accepted = time.Now()
		back := w.open(Reader{Account: "a"}, w.boot+".2")
		w.wasAsked(before, "stopping", "")
		document = w.changes("a", "x")
		require.Equal(t, operationText(0, document), w.told(back), "it has not been told of the stop")
		time.Sleep(time.Second)
		w.is("stopping", "")
		require.Equal(t, statusText(4, "stopping"), w.told(back))
		document = w.changes("a", "x")
		require.Equal(t, operationText(5, document), w.told(back))
		for _, s := range []*Stream{s, back} {
			require.NoError(t, s.Close())
		}
	})
}
