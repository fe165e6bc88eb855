package faults

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/hostile"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// figure is what a soak samples. It is flat when its median in the last quarter is
// at most a tenth and slack above that in the second: by then caches are full.
type figure struct {
	name   string
	metric string // empty where sample computes it
	unit   float64
	slack  float64
	grows  bool // with the operations that are kept; shown only
}

// The operations of a soak are younger than any store.keep, so the database grows
// by each of them, and must not by more for later ones.
var figures = []figure{
	{name: "RSS MB", metric: "process_resident_memory_bytes", unit: megabyte, slack: 8},
	{name: "heap MB", metric: "go_memstats_heap_alloc_bytes", unit: megabyte, slack: 6},
	{name: "goroutines", metric: "go_goroutines", unit: 1, slack: 20},
	{name: "open files", metric: "process_open_fds", unit: 1, slack: 20},
	{name: "waiting records", metric: "bus_vm_usage_waiting_records", unit: 1, slack: 40},
	{name: "WAL kB", unit: 1 << 10, slack: 4 << 10}, // of which SQLite fills 4 MB before it begins again
	{name: "store kB", unit: 1 << 10, grows: true},
	{name: "bytes/operation", unit: 1, slack: 300},
}

// soak is one gateway under mixed load, whose platform has one fault after another.
type soak struct {
	*rig
	g      *gateway
	quit   chan struct{}
	end    time.Time
	active sync.WaitGroup
	tokens []string
	first  [2]float64 // operations and bytes of the store when sampling began
}

// An hour, or SOAK_TIME, of all that a gateway meets: memory, goroutines, open files
// and records that wait stay what they were, and each 202 has its records.
func TestSoak(t *testing.T) {
	if os.Getenv("SOAK_TIME") == "" {
		t.Skip("it takes an hour: just soak")
	}
	long, err := time.ParseDuration(os.Getenv("SOAK_TIME"))
	require.NoError(t, err)
	s := newSoak(t, long)
	for range 200 {
		s.tokens = append(s.tokens, platform.CallerToken(callerSecret, uuid.NewString(), "vm:read"))
	}
	s.load()
	s.active.Go(func() { s.disturb(max(time.Second, min(10*time.Second, long/100))) })

	tick := time.NewTicker(max(time.Second, min(30*time.Second, long/24)))
	defer tick.Stop()
	var samples [][]float64
	for time.Now().Before(s.end) && !s.g.hasEnded() {
		<-tick.C
		samples = append(samples, s.sample())
	}
	require.False(t, s.g.hasEnded(), "the gateway ended:\n%s", s.g.log)
	close(s.quit)
	s.active.Wait()
	s.t.Log(table(samples))
	for i, f := range figures {
		early, late := median(samples, 1, i), median(samples, 3, i)
		assert.True(t, f.grows || late <= early*1.1+f.slack, "%s grew from %.1f to %.1f", f.name, early, late)
	}
	used, _ := s.g.metric("process_cpu_seconds_total")
	t.Logf("the gateway used %.1f %% of a core; %d writes answered %v", 100*used/long.Seconds(), len(s.book.writes), s.book.statuses())
}

func newSoak(t *testing.T, long time.Duration) *soak {
	r := newRig(t)
	s := &soak{rig: r, quit: make(chan struct{})}
	home := r.home()
	for name, text := range map[string]string{"token": mint(platform.ProviderScope), "secrets": callerSecret, "settings.yaml": "log:\n  level: info\n"} {
		harness.Replace(t, filepath.Join(home, name), text)
	}
	s.g = r.begin(process, home, "BUS_VM_CONFIG="+filepath.Join(home, "settings.yaml"), "BUS_VM_LOG_LEVEL=",
		"BUS_API_TOKEN=", "BUS_API_TOKEN_FILE="+filepath.Join(home, "token"),
		"BUS_VM_JWT_SECRET=", "BUS_VM_JWT_SECRET_FILE="+filepath.Join(home, "secrets"), "BUS_VM_TIMEOUT=2s")
	r.connected()
	s.end = time.Now().Add(long)
	return s
}

// load begins what callers do all the time.
func (s *soak) load() {
	client := &http.Client{Timeout: waitLimit}
	s.t.Cleanup(client.CloseIdleConnections)
	bad, requests := hostile.BadTokens(callerSecret, time.Now()), hostile.Requests()
	for i := range 3 {
		s.every(600*time.Millisecond, func(n int) { s.write(s.g, []string{start, stop}[(i+n)%2]) })
	}
	s.every(time.Second, func(int) { s.read(s.g) })
	s.every(20*time.Millisecond, func(n int) { // warm reads
		request, err := http.NewRequest(http.MethodGet, "http://"+s.g.addr+"/api/v1/vm/status", nil)
		require.NoError(s.t, err)
		request.Header.Set("Authorization", "Bearer "+s.tokens[n%len(s.tokens)])
		if reply, err := client.Do(request); assert.NoError(s.t, err) {
			_, _ = io.Copy(io.Discard, reply.Body)
			_ = reply.Body.Close()
		}
	})
	s.every(150*time.Millisecond, func(n int) {
		a := exchange(s.g.addr, "GET /api/v1/vm/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "+bad[n%len(bad)].Text+"\r\n\r\n")
		assert.NotZero(s.t, a.status, a.err) // a few become good in time
	})
	s.every(200*time.Millisecond, func(n int) { _, _ = io.Copy(io.Discard, s.opened(requests[n%len(requests)].Raw)) })
	s.every(500*time.Millisecond, func(n int) { // bodies: what is taken, what is none, what is too large
		c := newCall(s.g, start)
		c.body = []string{`{}`, ` `, `{"a":1}`, strings.Repeat("x", 64<<10), strings.Repeat(" ", 3000)}[n%5]
		if c.send(); c.status == http.StatusRequestEntityTooLarge {
			return // the book's checks are of those that reach a route
		}
		s.book.add(c)
	})
	for range 5 {
		s.every(300*time.Millisecond, func(int) { s.broken() })
	}
	for i := range 3 { // callers that follow the status
		s.every(time.Second, func(n int) {
			conn := s.opened("GET /api/v1/vm/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + s.tokens[i] + "\r\n\r\n")
			_ = conn.SetDeadline(time.Now().Add(time.Duration(1+n%9) * time.Second))
			_, _ = io.Copy(io.Discard, conn)
		})
	}
}

// every does something at that pace, by a goroutine of its own, until the end.
func (s *soak) every(pace time.Duration, do func(n int)) {
	s.active.Go(func() {
		for n := 0; s.rest(pace); n++ {
			do(n)
		}
	})
}

// rest reports whether the soak goes on after d.
func (s *soak) rest(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-s.quit:
	case <-s.g.ended:
	}
	return false
}

// opened is a connection on which raw was sent, closed at the end of a second.
func (s *soak) opened(raw string) net.Conn {
	conn, err := harness.Dial(context.Background(), s.g.addr)
	require.NoError(s.t, err)
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(conn, raw) // one that is refused early may be reset
	time.AfterFunc(10*time.Second, func() { _ = conn.Close() })
	return conn
}

// broken begins a request, and ends it late, in the middle, or never.
func (s *soak) broken() {
	conn, err := harness.Dial(context.Background(), s.g.addr)
	require.NoError(s.t, err)
	defer conn.Close()
	raw := newCall(s.g, status).raw()
	cut := rand.IntN(len(raw))
	_, _ = io.WriteString(conn, raw[:cut])
	s.rest(rand.N(6 * time.Second))
	switch rand.IntN(3) {
	case 0:
		_, _ = io.WriteString(conn, raw[cut:])
		_, _ = io.Copy(io.Discard, conn)
	case 1:
		_ = conn.(*net.TCPConn).SetLinger(0) // a reset
	}
}

// disturb has one fault after another, each for so long, until the end.
func (s *soak) disturb(phase time.Duration) {
	home, signal := s.g.home, func() { _ = syscall.Kill(s.g.pid, syscall.SIGHUP) }
	faulty := func(f platform.Faults) func() { return func() { s.Events.SetFaults(f) } }
	phases := []func(){
		func() {},
		func() { // streams flap
			for range 5 {
				s.Events.CutStreams()
				s.rest(phase / 6)
			}
		},
		func() { // Events is away, and forgets every fourth time
			assert.NoError(s.t, s.Events.Kill())
			s.rest(phase)
			s.up(rand.IntN(4) > 0)
		},
		func() { s.Usage.SetBehaviour(platform.Behaviour{Deaf: true}) },
		func() { // secrets and tokens roll over
			harness.Replace(s.t, filepath.Join(home, "secrets"), callerSecret+"\n"+uuid.NewString())
			harness.Replace(s.t, filepath.Join(home, "token"), mint(platform.ProviderScope))
			signal()
		},
		func() {
			s.Usage.SetBehaviour(platform.Behaviour{Refuse: &platform.EventError{Code: "internal_error", Message: "try later"}, Rate: .5})
		},
		func() {
			s.vmBehaves(platform.Behaviour{Refuse: &platform.EventError{Code: "no_capacity", Message: "none left"}, Rate: .4},
				platform.Behaviour{Silent: true, Rate: .1}, platform.Behaviour{Jitter: 500 * time.Millisecond})
		},
		func() { // a reload that fails, then one that does not
			file := filepath.Join(home, "settings.yaml")
			harness.Replace(s.t, file, "log: [")
			signal()
			s.rest(phase / 2)
			harness.Replace(s.t, file, "log:\n  level: info\n")
			signal()
		},
		faulty(platform.Faults{CutPublish: true, Rate: .3}),
		faulty(platform.Faults{PublishStatus: http.StatusInternalServerError, Rate: .3}),
		faulty(platform.Faults{GarbageLines: true, Foreign: 5, Duplicate: true, Reorder: 5}),
		func() { s.Billing.Decide("", platform.Decision{Reason: "quota_exceeded"}) },
		faulty(platform.Faults{Stall: true}),
	}
	for n := 0; ; n++ {
		began := time.Now()
		phases[n%len(phases)]()
		ended := !s.rest(phase - time.Since(began))
		s.heal()
		s.Billing.Decide("", platform.Decision{Allowed: true})
		if ended {
			return
		}
	}
}

// sample is a row of the table, in the order of figures.
func (s *soak) sample() (row []float64) {
	size := func(name string) float64 {
		info, err := os.Stat(filepath.Join(s.g.data, name))
		if err != nil {
			return 0 // no -wal yet
		}
		return float64(info.Size())
	}
	operations, err := s.g.rows("(select 1 as n from operations)")
	assert.NoError(s.t, err)
	now := [2]float64{float64(operations), size("operations.db") + size("operations.db-wal")}
	if s.first[0] == 0 {
		s.first = now
	}
	computed := map[string]float64{
		"WAL kB": size("operations.db-wal"), "store kB": size("operations.db"),
		"bytes/operation": (now[1] - s.first[1]) / max(1, now[0]-s.first[0]),
	}
	for _, f := range figures {
		value := computed[f.name]
		if f.metric != "" {
			value, _ = s.g.metric(f.metric)
			assert.True(s.t, value > 0 || f.name == "waiting records", f.metric)
		}
		row = append(row, value/f.unit)
	}
	return row
}

// median is that of figure i in a quarter of the samples.
func median(samples [][]float64, quarter, i int) float64 {
	var values []float64
	for _, row := range samples[len(samples)*quarter/4 : len(samples)*(quarter+1)/4] {
		values = append(values, row[i])
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// table shows the first, the last and the samples between the quarters, and the
// medians that are compared.
func table(samples [][]float64) string {
	var text strings.Builder
	line := func(title string, of func(i int) string) {
		fmt.Fprintf(&text, "\n%-16s", title)
		for i := range figures {
			fmt.Fprintf(&text, "%16s", of(i))
		}
	}
	line("", func(i int) string { return figures[i].name })
	for quarter := range 5 {
		at := min(len(samples)*quarter/4, len(samples)-1)
		line(fmt.Sprintf("sample %d", at+1), func(i int) string { return fmt.Sprintf("%.1f", samples[at][i]) })
	}
	for _, quarter := range []int{1, 3} {
		line(fmt.Sprintf("median of Q%d", quarter+1), func(i int) string { return fmt.Sprintf("%.1f", median(samples, quarter, i)) })
	}
	return text.String()
}
