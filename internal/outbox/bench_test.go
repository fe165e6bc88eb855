//go:build linux

package outbox

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// syncsPerCommit is what bbolt does: the pages, then the page that makes them
// valid. `strace -f -c -e fdatasync` counts the same.
const syncsPerCommit = 2

// BenchmarkBareSync is the floor of a commit on this disk: two small writes,
// each synced.
func BenchmarkBareSync(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "file"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	pages := make([]byte, 4*4096)
	if _, err := f.Write(pages); err != nil {
		b.Fatal(err)
	}
	times := make([]time.Duration, 0, b.N)
	for b.Loop() {
		begin := time.Now()
		for at := range int64(syncsPerCommit) {
			if _, err := f.WriteAt(pages[:4096*(2-at)], at*4096); err != nil {
				b.Fatal(err)
			}
			if err := syscall.Fdatasync(int(f.Fd())); err != nil {
				b.Fatal(err)
			}
		}
		times = append(times, time.Since(begin))
	}
	report(b, times)
}

// BenchmarkLone is one caller at a time: each iteration is a whole write, the
// percentiles are of one commit.
func BenchmarkLone(b *testing.B) {
	o := start(b, Config{Dir: b.TempDir(), Sender: newSink(nil)})
	times := make([]time.Duration, 0, 2*b.N)
	for b.Loop() {
		op := newOperation()
		begin := time.Now()
		if err := o.Requested(context.Background(), op); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		if err := o.Ended(op, lifecycle.Accepted, time.Second); err != nil {
			b.Fatal(err)
		}
		times = append(times, middle.Sub(begin), time.Since(middle))
	}
	report(b, times)
	b.ReportMetric(float64(o.count.commits.Get())/float64(b.N), "commits/write")
}

// BenchmarkWriters200 is 200 callers at once; an iteration is a whole write.
func BenchmarkWriters200(b *testing.B) {
	o := start(b, Config{Dir: b.TempDir(), Sender: newSink(nil)})
	before := o.count.commits.Get()
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		times []time.Duration
	)
	writes := make(chan struct{}, 200)
	for range 200 {
		all.Go(func() {
			for range writes {
				op := newOperation()
				begin := time.Now()
				if err := o.Requested(context.Background(), op); err != nil {
					b.Error(err)
				}
				middle := time.Now()
				if err := o.Ended(op, lifecycle.Accepted, time.Second); err != nil {
					b.Error(err)
				}
				mu.Lock()
				times = append(times, middle.Sub(begin), time.Since(middle))
				mu.Unlock()
			}
		})
	}
	for b.Loop() {
		writes <- struct{}{}
	}
	close(writes)
	all.Wait()
	report(b, times)
	commits := float64(o.count.commits.Get() - before)
	b.ReportMetric(commits/float64(b.N), "commits/write")
	b.ReportMetric(syncsPerCommit*commits/float64(b.N), "syncs/write")
}

// BenchmarkDeliver is a backlog of b.N records, delivered.
func BenchmarkDeliver(b *testing.B) {
	g := &gate{err: errDown}
	s := newSink(g.answer)
	o := start(b, Config{Dir: b.TempDir(), Sender: s, MaxRecords: 4*b.N + 1000, RetryMin: time.Millisecond, RetryMax: time.Millisecond})
	var all sync.WaitGroup
	per := b.N/2/50 + 1
	for range 50 {
		all.Go(func() {
			for range per {
				o.pair(newOperation(), lifecycle.Accepted)
			}
		})
	}
	all.Wait()
	b.ResetTimer()
	g.set(nil)
	s.await(b, b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func report(b *testing.B, times []time.Duration) {
	slices.Sort(times)
	at := func(q float64) float64 {
		return float64(times[int(q*float64(len(times)-1))].Microseconds())
	}
	b.ReportMetric(at(0.5), "p50-µs")
	b.ReportMetric(at(0.99), "p99-µs")
}
