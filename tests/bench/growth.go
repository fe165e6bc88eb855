package main

import (
	"context"
	"fmt"
	"path/filepath"
)

// growConnections measures status at 1 to 10,000 connections.
func (b *bench) growConnections(ctx context.Context) {
	most := connectionBudget(10_000)
	t := b.report.section("Connections", "Status with a warm token; every connection sends its next request at once.",
		append([]string{"connections", "", costHead}, loadHead...)...)
	for _, n := range []int{1, 10, 100, 1000, 5000, most} {
		l := load{token: b.mint.token(good), connections: n, seconds: b.seconds * growthSeconds}
		results := b.compare(ctx, growthRounds, pick(gatewayName, fasthttpPeer), always(l))
		t.grow(n, results)
	}
}

// growTokens measures status with 1 to 100,000 tokens in turn: more than the
// gateway remembers, in the end.
func (b *bench) growTokens(ctx context.Context) {
	t := b.report.section("Distinct tokens", "Status, 64 connections, the tokens one after the other and again from the first.",
		append([]string{"tokens", "", costHead}, loadHead...)...)
	for _, n := range []int{1, 10, 100, 1000, 10_000, 50_000, 100_000} {
		path := b.mint.file(filepath.Join(b.dir, "tokens"), n, good)
		// The first round fills the cache; it does not count.
		l := load{tokens: path, seconds: b.seconds * growthSeconds}
		results := b.compare(ctx, growthRounds+1, pick(gatewayName, fiberJWTPeer), always(l))
		for name, samples := range results.samples {
			results.samples[name] = samples[1:]
		}
		t.grow(n, results)
	}
}

const (
	// growthRounds is how many rounds each size takes.
	growthRounds = 2
	// growthSeconds is how much longer a turn is than in the main table.
	growthSeconds = 2
)

// grow appends what was measured at size n.
func (s *section) grow(n int, results series) {
	for _, name := range results.names {
		s.row(append([]string{fmt.Sprint(n), name, results.over(name, sample.perRequest).String()}, results.loadCells(name)...)...)
	}
}

// growWrites measures starts in events mode, 1 to 4,000 of them under way at a
// time.
func (b *bench) growWrites(ctx context.Context) {
	p := must(startPlatform())
	defer p.Close()
	s := b.start(ctx, eventsSpec(gatewayName, p, "BUS_VM_WRITES_IN_FLIGHT=10000"))
	defer s.stop()
	section := b.report.section("Writes in flight", "Starts in events mode with entitlement and usage on; each writer sends its next one at once.",
		"in flight", "writes/s", "p50", "p99", "CPU µs a write", "commits a write", "memory")
	for _, writers := range []int{1, 10, 100, 1000, 2500, 5000} {
		result, commits := b.press(ctx, s, max(500, 4*writers)*b.seconds, writers)
		memory := resident(s.cmd.Process.Pid)
		section.row(fmt.Sprint(writers), fmt.Sprintf("%.0f", result.throughput()),
			inMilliseconds(result.quantile(.5)), inMilliseconds(result.quantile(.99)),
			fmt.Sprintf("%.0f", result.perWrite()), fmt.Sprintf("%.3f", commits), megabytes(float64(memory)))
		b.say("%d writes in flight: %.0f writes/s", writers, result.throughput())
		b.drained(ctx, s)
	}
	section.note("The Events API, its workers and the load share the other core, and bound the throughput.")
	check(wrong(p))
}
