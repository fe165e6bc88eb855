package main

import (
	"context"
	"time"
)

// startupRounds is how often each server is started.
const startupRounds = 10

// startup measures from exec to the first reply.
func (b *bench) startup(ctx context.Context) {
	specs := pick(gatewayName, fiberPeer)
	taken := map[string][]float64{}
	for range startupRounds {
		for _, spec := range specs {
			d := b.startOnce(ctx, spec)
			taken[spec.name] = append(taken[spec.name], float64(d.Microseconds())/1000)
		}
	}
	s := b.report.section("Start-up", "From exec to the end of the first reply to a status read.", "", "ms")
	for _, spec := range specs {
		s.row(spec.name, spreadOf(taken[spec.name]).String())
	}
	ours := spreadOf(taken[gatewayName])
	b.report.goal("start-up: serving within 50 ms of exec", ours.String()+" ms", ours.median, 50, "")
}

func (b *bench) startOnce(ctx context.Context, spec spec) time.Duration {
	request := statusRequest(b.mint.token(good))
	began := time.Now()
	s := b.startWhen(ctx, spec, func(s *server) error {
		c, err := s.ask(request)
		if c != nil {
			_ = c.Close()
		}
		return err
	})
	took := time.Since(began)
	s.stop()
	return took
}
