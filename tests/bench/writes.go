package main

import (
	"context"
	"fmt"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

const (
	writeRate = 500 // a second
	// writeConnections is more than ever wait at that rate.
	writeConnections = 256
	// groupWriters is how many writers press at once to show group commit.
	groupWriters = 200
	// settled is when the records of a turn should be delivered.
	settled = 3 * time.Second
)

// eventsStatus compares a warm status read in events mode, its snapshot
// refreshed ten times a second, with one on the static backend.
func (b *bench) eventsStatus(ctx context.Context) {
	p := must(startPlatform())
	defer p.Close()
	const inEvents = "events mode, refreshed every 100 ms"
	warm := load{token: b.mint.token(good), seconds: b.seconds}
	results := b.compare(ctx, b.rounds, []spec{eventsSpec(inEvents, p, "BUS_VM_STATUS_REFRESH=100ms"), gatewaySpec}, always(warm))
	t := b.report.loadTable("Status in events mode", "A warm token; the snapshot is refreshed through Bus Events meanwhile.", results)
	t.limit("events mode: CPU ≤ 1.03 × static", results, inEvents, gatewayName, 1.03, "")
	slow := func(name string) float64 {
		return best(results.values(name, func(x sample) float64 { return float64(x.p999.Microseconds()) }))
	}
	ratio := slow(inEvents) / slow(gatewayName)
	b.report.goal("events mode: no spike from a refresh (p99.9 ≤ 1.2 × static)", fmt.Sprintf("%.2f", ratio), ratio, 1.2, "")
}

// writes drives starts in events mode with entitlement and usage on.
func (b *bench) writes(ctx context.Context) {
	p := must(startPlatform())
	defer p.Close()
	ours := b.start(ctx, eventsSpec(gatewayName, p))
	defer ours.stop()
	var plain []*server
	for _, name := range []string{busFreshPeer, busClientPeer} {
		client := b.startWhen(ctx, busClientSpec(p, name), (*server).reach)
		defer client.stop()
		plain = append(plain, client)
	}
	disk := commits(b.dir)
	b.fixedRate(ctx, ours, plain[0], plain[1], disk[len(disk)/2], disk[len(disk)*99/100])
	b.groupCommit(ctx, ours)
	check(wrong(p))
	if b.beside != "" {
		b.otherBuild(ctx)
	}
}

// otherBuild compares writes with those of the program of another build, each with a
// platform of its own.
func (b *bench) otherBuild(ctx context.Context) {
	type row struct{ lone, many, fixed []shots }
	const this, other = gatewayName, "the other build"
	names, programs := []string{this, other}, map[string]string{this: gateway, other: b.beside}
	servers, rows := map[string]*server{}, map[string]*row{}
	for _, name := range names {
		p := must(startPlatform())
		defer p.Close()
		servers[name] = b.start(ctx, eventsSpecOf(programs[name], name, p))
		defer servers[name].stop()
		rows[name] = &row{}
	}
	token := b.mint.token(good)
	for range b.fewer() {
		for _, name := range names {
			s, r := servers[name], rows[name]
			spent := func(shoot func() shots) shots { // delivery is part of the cost
				before := cpuTime(s.cmd.Process.Pid)
				result := shoot()
				check(pause(ctx, settled)) // so that both are looked at as often
				b.drained(ctx, s)
				result.cpu = cpuTime(s.cmd.Process.Pid) - before
				return result
			}
			r.lone = append(r.lone, spent(func() shots { return s.closedLoop(ctx, token, 300*b.seconds, 1) }))
			r.fixed = append(r.fixed, spent(func() shots {
				return s.openLoop(ctx, token, writeRate*3*b.seconds, writeRate, writeConnections)
			}))
			r.many = append(r.many, spent(func() shots { return s.closedLoop(ctx, token, 4000*b.seconds, groupWriters) }))
		}
	}
	section := b.report.section("Writes beside another build", "Starts in events mode, entitlement and usage on; CPU with the delivery of their records.",
		"", "alone: p50 ms", "CPU µs", fmt.Sprintf("%d/s: p50 ms", writeRate), "CPU µs", fmt.Sprintf("%d writers: a second", groupWriters), "p50 ms", "CPU µs")
	of := func(list []shots, value func(shots) float64) string {
		var values []float64
		for _, x := range list {
			values = append(values, value(x))
		}
		return spreadOf(values).String()
	}
	median := func(x shots) float64 { return milliseconds(x.quantile(.5)) }
	for _, name := range names {
		r := rows[name]
		section.row(name, of(r.lone, median), of(r.lone, shots.perWrite), of(r.fixed, median), of(r.fixed, shots.perWrite),
			of(r.many, shots.throughput), of(r.many, median), of(r.many, shots.perWrite))
	}
}

// wrong fails a run that broke what the platform holds its clients to.
func wrong(p *platform.Platform) error {
	if breaches := p.Check(); len(breaches) > 0 {
		return fmt.Errorf("%d breaches of the contract, the first: %s", len(breaches), breaches[0])
	}
	return nil
}

// fixedRate compares writes at a fixed rate with those of the plain client, which
// makes a connection for each start as well. What that costs is reported apart:
// it is the difference to the same client without.
func (b *bench) fixedRate(ctx context.Context, ours, bare, reusing *server, commit, slowCommit time.Duration) {
	token := b.mint.token(good)
	n := writeRate * 3 * b.seconds
	rows := map[*server][]shots{}
	for range b.fewer() {
		for _, s := range []*server{ours, bare, reusing} {
			result := s.openLoop(ctx, token, n, writeRate, writeConnections)
			rows[s] = append(rows[s], result)
			if s == ours {
				b.drained(ctx, s) // delivery is part of the cost
			}
		}
		mine, plain := rows[ours][len(rows[ours])-1], rows[bare][len(rows[bare])-1]
		b.say("a write: p50 %v against %v, p99 %v against %v, CPU %.0f against %.0f µs", mine.quantile(.5), plain.quantile(.5),
			mine.quantile(.99), plain.quantile(.99), mine.perWrite(), plain.perWrite())
	}
	s := b.report.section("Start in events mode", fmt.Sprintf(
		"%d a second at fixed moments, latency from those moments; entitlement and usage on; workers answer at once.", writeRate),
		"", "p50 ms", "p99 ms", "CPU µs a write")
	values := func(server *server, value func(shots) float64) (values []float64) {
		for _, x := range rows[server] {
			values = append(values, value(x))
		}
		return values
	}
	quantile := func(q float64) func(shots) float64 {
		return func(x shots) float64 { return milliseconds(x.quantile(q)) }
	}
	for _, server := range []*server{ours, bare, reusing} {
		s.row(server.name, spreadOf(values(server, quantile(.5))).String(),
			spreadOf(values(server, quantile(.99))).String(), spreadOf(values(server, shots.perWrite)).String())
	}
	s.note("One durable commit on this disk takes %.2f ms (p50), %.2f ms (p99); a write waits for two. "+
		"What the gateway adds is its latency, less the plain client's, less two commits.",
		milliseconds(commit), milliseconds(slowCommit))
	s.note("The connection that each start has costs %.2f ms (p50) and %.0f µs of CPU: the plain client with it, less the same without.",
		best(values(bare, quantile(.5)))-best(values(reusing, quantile(.5))),
		best(values(bare, shots.perWrite))-best(values(reusing, shots.perWrite)))
	adds := func(q float64, commit time.Duration) float64 {
		return best(values(ours, quantile(q))) - best(values(bare, quantile(q))) - 2*milliseconds(commit)
	}
	median, slow := adds(.5, commit), adds(.99, slowCommit)
	cost := best(values(ours, shots.perWrite)) / best(values(bare, shots.perWrite))
	b.report.goal("start: adds p50 ≤ 1 ms at 500/s", fmt.Sprintf("%.2f ms", median), median, 1,
		"commits queue behind each other: this disk takes few more than the thousand a second that are asked of it")
	b.report.goal("start: adds p99 ≤ 5 ms at 500/s", fmt.Sprintf("%.2f ms", slow), slow, 5,
		"the load, the Events API and its workers share a core, so the plain client's own p99 is of this size")
	b.report.goal("start: CPU ≤ 1.5 × the plain client's", fmt.Sprintf("%.2f", cost), cost, 1.5,
		"two durable commits, and the threads that sleep and wake for their syncs, are nearly half of what the plain client costs; "+
			"the rest checks a token, writes rows and records, notes their delivery and logs")
}

// press lets many writers press at once, and counts commits a write.
func (b *bench) press(ctx context.Context, s *server, n, writers int) (result shots, commits float64) {
	const counter = "bus_vm_store_commits_total"
	before := b.metric(ctx, s, counter)
	result = s.closedLoop(ctx, b.mint.token(good), n, writers)
	return result, (b.metric(ctx, s, counter) - before) / float64(n)
}

func (b *bench) groupCommit(ctx context.Context, s *server) {
	result, commits := b.press(ctx, s, 4000*b.seconds, groupWriters)
	b.report.goal(fmt.Sprintf("group commit: < 0.1 commits a write at %d writers", groupWriters),
		fmt.Sprintf("%.3f, at %.0f writes/s", commits, result.throughput()), commits, 0.1, "")
	b.drained(ctx, s)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
