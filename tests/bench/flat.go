package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	flatConnections = 32
	// freshEvery makes one in so many requests bring a new token.
	freshEvery = 5
	// flatSteps is how often memory is looked at.
	flatSteps = 20
	// remembered is above what the gateway's token cache holds by default; so
	// many tokens come first and are not counted.
	remembered = 80_000
	// flatTolerance is how far memory may rise in the second half of the
	// requests above the first half and still count as flat.
	flatTolerance = 1.05
)

// flatMemory sends requests of all kinds and watches that memory stops growing.
func (b *bench) flatMemory(ctx context.Context) {
	s := b.start(ctx, gatewaySpec)
	defer s.stop()
	kinds := [][]byte{
		statusRequest(b.mint.token(good)), statusRequest(b.mint.token(good)),
		statusRequest(b.mint.forged()), statusRequest(b.mint.token(expired)), statusRequest(b.mint.token(noRead)),
		[]byte("GET /readyz HTTP/1.1\r\nHost: bench\r\n\r\n"),
		[]byte("GET /nothing/here HTTP/1.1\r\nHost: bench\r\n\r\n"),
		[]byte("PUT /api/v1/vm/status HTTP/1.1\r\nHost: bench\r\nContent-Length: 2\r\n\r\n{}"),
	}
	b.mixed(ctx, s, kinds, remembered, 1)
	var memory []float64
	for step := range flatSteps {
		b.mixed(ctx, s, kinds, b.flat/flatSteps, freshEvery)
		now := resident(s.cmd.Process.Pid)
		memory = append(memory, float64(now)/1e6)
		if step%5 == 4 {
			b.say("memory after %d requests: %.1f MB", (step+1)*b.flat/flatSteps, memory[step])
		}
	}
	b.reportFlat(memory)
}

func (b *bench) reportFlat(memory []float64) {
	section := b.report.section("Memory over many requests",
		fmt.Sprintf("%d requests of all kinds, %d of them with a token never seen before; %d new tokens filled the cache before.",
			b.flat, b.flat/freshEvery, remembered),
		"requests", "memory")
	for i, mb := range memory {
		requests := (i + 1) * b.flat / flatSteps
		if i%4 == 3 {
			section.row(fmt.Sprint(requests), fmt.Sprintf("%.1f MB", mb))
		}
	}
	half := flatSteps / 2
	ratio := slices.Max(memory[half:]) / slices.Max(memory[:half])
	b.report.goal(fmt.Sprintf("memory: flat over %d requests and %d tokens (second half ≤ 1.05 × first)", b.flat, b.flat/freshEvery),
		fmt.Sprintf("%.2f ×, at most %.1f MB", ratio, slices.Max(memory)), ratio, flatTolerance, "")
}

// mixed sends n requests, one in every so many with a new token.
func (b *bench) mixed(ctx context.Context, s *server, kinds [][]byte, n, every int) {
	var left atomic.Int64
	left.Store(int64(n))
	var minting sync.Mutex
	check(s.load(ctx, flatConnections, func(exchange func([]byte) (int, error)) error {
		for i := int(left.Add(-1)); i >= 0; i = int(left.Add(-1)) {
			request := kinds[i%len(kinds)]
			if i%every == 0 {
				minting.Lock()
				request = statusRequest(b.mint.token(good))
				minting.Unlock()
			}
			if status, err := exchange(request); err != nil || status >= 500 {
				return fmt.Errorf("status %d: %w", status, err)
			}
		}
		return nil
	}))
}
