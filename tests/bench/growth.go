package main

import (
	"context"
	"fmt"
	"path/filepath"
)

// growConnections measures status at 1 to 10,000 connections.
func (b *bench) growConnections(ctx context.Context) error {
	fleet, stop, err := b.startAll(ctx, pick(gatewayName, fasthttpPeer))
	if err != nil {
		return err
	}
	defer stop()
	most, err := connectionBudget(10_000)
	if err != nil {
		return err
	}
	g := b.report.growth("Connections", "Status with a warm token; every connection sends its next request at once.", "connections")
	for _, n := range []int{1, 10, 100, 1000, 5000, most} {
		var entrants []entrant
		l := load{token: b.mint.token(readClaims()), connections: n, seconds: b.seconds * growthSeconds}
		for _, s := range fleet {
			entrants = append(entrants, entrant{s.name, s, l})
		}
		results, err := b.interleave(ctx, growthRounds, func() ([]entrant, error) { return entrants, nil })
		if err != nil {
			return err
		}
		g.add(n, results)
	}
	return nil
}

// growTokens measures status with 1 to 100,000 tokens in turn: more than the
// gateway remembers, in the end.
func (b *bench) growTokens(ctx context.Context) error {
	g := b.report.growth("Distinct tokens", "Status, 64 connections, the tokens one after the other and again from the first.", "tokens")
	for _, n := range []int{1, 10, 100, 1000, 10_000, 50_000, 100_000} {
		fleet, stop, err := b.startAll(ctx, pick(gatewayName, fiberJWTPeer))
		if err != nil {
			return err
		}
		path, err := b.mint.file(filepath.Join(b.dir, "tokens"), n, readClaims())
		if err != nil {
			stop()
			return err
		}
		var entrants []entrant
		for _, s := range fleet {
			entrants = append(entrants, entrant{s.name, s, load{tokens: path, seconds: b.seconds * growthSeconds}})
		}
		// The first round fills the cache; it does not count.
		results, err := b.interleave(ctx, growthRounds+1, func() ([]entrant, error) { return entrants, nil })
		stop()
		if err != nil {
			return err
		}
		g.add(n, results.after(1))
	}
	return nil
}

const (
	// growthRounds is how many rounds each size takes.
	growthRounds = 2
	// growthSeconds is how much longer a turn is than in the main table.
	growthSeconds = 2
)

// after leaves out the first rounds.
func (s series) after(rounds int) series {
	rest := series{names: s.names, samples: map[string][]sample{}}
	for name, samples := range s.samples {
		rest.samples[name] = samples[rounds:]
	}
	return rest
}

// growth is a table over a size.
type growth struct{ *section }

func (r *report) growth(title, intro, axis string) growth {
	return growth{r.section(title, intro, axis, "", "CPU µs a request", "requests/s", "p50", "p99", "p99.9", "memory")}
}

// add appends what was measured at size n.
func (g growth) add(n int, results series) {
	for _, name := range results.names {
		cpu := results.over(name, sample.perRequest)
		latency := func(of func(sample) float64) string { return micros(results.over(name, of).median) }
		g.row(fmt.Sprint(n), name, cpu.String(),
			fmt.Sprintf("%.0f", results.over(name, sample.throughput).median),
			latency(func(x sample) float64 { return float64(x.p50.Microseconds()) }),
			latency(func(x sample) float64 { return float64(x.p99.Microseconds()) }),
			latency(func(x sample) float64 { return float64(x.p999.Microseconds()) }),
			megabytes(results.over(name, func(x sample) float64 { return float64(x.resident) }).median))
	}
}

// growWrites measures starts in events mode, 1 to 4,000 of them under way at a
// time.
func (b *bench) growWrites(ctx context.Context) error {
	p, err := startPlatform()
	if err != nil {
		return err
	}
	defer p.Close()
	s, err := b.start(ctx, eventsSpec(gatewayName, p, "BUS_VM_WRITES_IN_FLIGHT=10000"))
	if err != nil {
		return err
	}
	defer s.stop()
	section := b.report.section("Writes in flight", "Starts in events mode with entitlement and usage on; each writer sends its next one at once.",
		"in flight", "writes/s", "p50", "p99", "CPU µs a write", "commits a write", "memory")
	for _, writers := range []int{1, 10, 100, 1000, 2500, 5000} {
		before, err := b.metric(ctx, s, "bus_vm_outbox_commits_total")
		if err != nil {
			return err
		}
		n := max(500, 4*writers) * b.seconds
		result, err := s.closedLoop(ctx, b.mint.token(readClaims()), n, writers)
		if err != nil {
			return err
		}
		after, err := b.metric(ctx, s, "bus_vm_outbox_commits_total")
		if err != nil {
			return err
		}
		memory, err := resident(s.cmd.Process.Pid)
		if err != nil {
			return err
		}
		section.row(fmt.Sprint(writers), fmt.Sprintf("%.0f", float64(n)/result.took.Seconds()),
			micros(float64(result.quantile(.5).Microseconds())), micros(float64(result.quantile(.99).Microseconds())),
			fmt.Sprintf("%.0f", result.perWrite()), fmt.Sprintf("%.3f", (after-before)/float64(n)), megabytes(float64(memory)))
		b.say("%d writes in flight: %.0f writes/s", writers, float64(n)/result.took.Seconds())
		if err := b.drained(ctx, s); err != nil {
			return err
		}
	}
	section.note("The Events API, its workers and the load share the other core, and bound the throughput.")
	return wrong(p)
}
