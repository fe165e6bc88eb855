package main

import (
	"context"
	"fmt"
	"slices"
)

// entrant takes one turn in each round.
type entrant struct {
	name   string
	server *server
	load   load
}

// series are the samples of each entrant, a round apart.
type series struct {
	names   []string // in the order of the report
	samples map[string][]sample
}

// interleave lets the entrants take turns, a different one first in each round,
// so that what the machine does meanwhile falls on all of them alike. prepare
// makes the entrants of a round, where they differ from round to round.
func (b *bench) interleave(ctx context.Context, rounds int, prepare func() []entrant) series {
	all := series{samples: map[string][]sample{}}
	for round := range rounds {
		entrants := prepare()
		var line string
		for i := range entrants {
			e := entrants[(i+round)%len(entrants)]
			s := b.drive(ctx, e.server, e.load)
			all.samples[e.name] = append(all.samples[e.name], s)
		}
		all.names = nil
		for _, e := range entrants {
			all.names = append(all.names, e.name)
			line += fmt.Sprintf("  %s %.2f", e.name, all.samples[e.name][round].perRequest())
		}
		b.say("round %d of %d, CPU µs a request:%s", round+1, rounds, line)
	}
	return all
}

// compare starts servers side by side and lets them take turns under one load,
// which prepare makes for each round.
func (b *bench) compare(ctx context.Context, rounds int, specs []spec, prepare func() load) series {
	var fleet []*server
	defer func() {
		for _, s := range fleet {
			s.stop()
		}
	}()
	for _, s := range specs {
		if b.missing[s.name] {
			continue
		}
		running := b.start(ctx, s)
		fleet = append(fleet, running) // idle ones cost next to nothing
	}
	return b.interleave(ctx, rounds, func() (entrants []entrant) {
		l := prepare()
		for _, s := range fleet {
			entrants = append(entrants, entrant{s.name, s, l})
		}
		return entrants
	})
}

// always is the same load in each round.
func always(l load) func() load { return func() load { return l } }

// spread is a median and the range it stands for.
type spread struct{ median, low, high float64 }

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return spread{(sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1]}
}

// values returns one value of the samples, by rounds.
func (s series) values(name string, value func(sample) float64) (values []float64) {
	for _, x := range s.samples[name] {
		values = append(values, value(x))
	}
	return values
}

// over returns the spread of one value of the samples.
func (s series) over(name string, value func(sample) float64) spread {
	return spreadOf(s.values(name, value))
}

// ratio returns the spread of the CPU time of name over that of base, formed
// within each round.
func (s series) ratio(name, base string) spread {
	var values []float64
	for i, x := range s.samples[name] {
		values = append(values, x.perRequest()/s.samples[base][i].perRequest())
	}
	return spreadOf(values)
}

// cheapest returns the CPU time of name over that of base, each in its best
// rounds.
func (s series) cheapest(name, base string) float64 {
	cost := func(name string) float64 { return best(s.values(name, sample.perRequest)) }
	return cost(name) / cost(base)
}

// best is the mean of the three lowest values: whatever else the machine does
// can only add to a round, and one alone may be luck.
func best(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	sorted = sorted[:min(3, len(sorted))]
	var sum float64
	for _, v := range sorted {
		sum += v
	}
	return sum / float64(len(sorted))
}

// others is the share of the machine that neither servers nor load used.
func (s series) others() spread {
	var values []float64
	for _, samples := range s.samples {
		for _, x := range samples {
			values = append(values, 100*x.others)
		}
	}
	return spreadOf(values)
}
