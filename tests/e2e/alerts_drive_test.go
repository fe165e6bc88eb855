package e2e

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// calm is the pause between two requests of one caller.
const calm = 100 * time.Millisecond

func healthyTarget(t testing.TB) *target {
	s := serveStack(t, "BUS_VM_TIMEOUT=10s", "BUS_VM_STATUS_MAX_AGE=10s") // on a slow machine, too
	return &target{s.admin, nil, func(ctx context.Context) {
		every(ctx, calm, func() { s.read(); s.start() })
	}}
}

// restartedTarget is started three times, then stays away.
func restartedTarget(t testing.TB) *target {
	g, admin := serveAdmin(t, nil)
	return &target{admin, []string{"BusVMRestarting", "BusVMDown"}, func(ctx context.Context) {
		restarts := 0
		every(ctx, 1100*time.Millisecond, func() { // start times are whole seconds
			if restarts++; restarts > 5 {
				return
			}
			g.stop(t)
			if restarts < 5 {
				g, _ = serveAdmin(t, []string{"BUS_VM_ADMIN_ADDR=" + admin})
			}
		})
	}}
}

func withoutEvents(t testing.TB) *target {
	s := serveStack(t)
	s.read()
	return &target{s.admin, []string{"BusVMStreamDown", "BusVMUnavailable", "BusVMStatusStale"}, func(ctx context.Context) {
		_ = s.platform.Events.Stop()
		every(ctx, calm, s.read)
	}}
}

func withCutStreams(t testing.TB) *target {
	s := serveStack(t)
	return &target{s.admin, []string{"BusVMStreamFlapping"}, func(ctx context.Context) {
		every(ctx, 5*calm, func() { s.platform.Events.CutStreams(platform.ReplyName(platform.StatusRequest)) })
	}}
}

func withBadWorker(t testing.TB) *target {
	s := serveStack(t)
	return &target{s.admin, []string{"BusVMBadGateway"}, func(ctx context.Context) {
		s.platform.VM.SetBehaviour(platform.Behaviour{Payload: json.RawMessage(`{"nonsense":true}`)})
		every(ctx, calm, s.read)
	}}
}

func withSlowWorker(t testing.TB) *target {
	s := serveStack(t, "BUS_VM_TIMEOUT=5s", "BUS_VM_STATUS_MAX_AGE=100ms")
	return &target{s.admin, []string{"BusVMSlowReads"}, func(ctx context.Context) {
		s.platform.VM.SetBehaviour(platform.Behaviour{Delay: time.Second})
		every(ctx, calm, s.read)
	}}
}

func withSilentBilling(t testing.TB) *target {
	s := serveStack(t)
	return &target{s.admin, []string{"BusVMBillingUnanswered"}, func(ctx context.Context) {
		s.platform.Billing.SetBehaviour(platform.Behaviour{Deaf: true})
		every(ctx, calm, s.start)
	}}
}

func withSilentUsage(t testing.TB) *target {
	s := serveStack(t, "BUS_VM_USAGE_MAX_RECORDS=20")
	return &target{s.admin, []string{"BusVMOutboxFilling", "BusVMOutboxFull", "BusVMOutboxStuck"}, func(ctx context.Context) {
		s.platform.Usage.SetBehaviour(platform.Behaviour{Deaf: true})
		every(ctx, calm, s.start)
	}}
}

func withRefusedRecords(t testing.TB) *target {
	s := serveStack(t)
	return &target{s.admin, []string{"BusVMRecordsParked"}, func(ctx context.Context) {
		s.platform.Usage.SetBehaviour(platform.Behaviour{Refuse: &platform.EventError{Code: "invalid_request", Message: "no such account"}})
		every(ctx, 10*calm, s.start)
	}}
}

// withDamagedOutbox finds a file in its data directory that is no outbox.
func withDamagedOutbox(t testing.TB) *target {
	directory := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(directory, "outbox.db"), []byte("no database"), 0o600))
	s := serveStack(t, "BUS_VM_DATA_DIR="+directory)
	return &target{s.admin, []string{"BusVMOutboxDamaged"}, func(ctx context.Context) { <-ctx.Done() }}
}

// withRefusedPublishes has a token, too, that lasts less than a day of the
// alerts' clock.
func withRefusedPublishes(t testing.TB) *target {
	token := platform.Token(jwtSecret, platform.Claims{Scope: platform.ProviderScope, TTL: 10 * time.Minute})
	suite.logged.keepOut(token)
	s := serveStack(t, "BUS_API_TOKEN="+token)
	return &target{s.admin, []string{"BusVMPublishRefused", "BusVMTokenExpiring"}, func(ctx context.Context) {
		s.platform.Events.SetFaults(platform.Faults{PublishStatus: http.StatusInternalServerError})
		every(ctx, calm, s.read)
	}}
}

func withLimitsReached(t testing.TB) *target {
	s := serveStack(t, "BUS_VM_WRITES_IN_FLIGHT=1", "BUS_VM_MAX_CONNECTIONS=10")
	return &target{s.admin, []string{"BusVMTooManyWrites", "BusVMTooManyConnections"}, func(ctx context.Context) {
		s.platform.VM.SetBehaviour(platform.Behaviour{Names: []string{platform.StartRequest}, Deaf: true})
		for range 9 {
			c, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
		}
		var callers sync.WaitGroup
		defer callers.Wait()
		for range 2 {
			callers.Go(func() { every(ctx, calm, s.start) })
		}
	}}
}

// withLostKeys never gets its public keys, and meets callers whose tokens are
// signed with another secret.
func withLostKeys(t testing.TB) *target {
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }))
	t.Cleanup(keys.Close)
	g, admin := serveAdmin(t, []string{"BUS_VM_JWKS_URL=" + keys.URL})
	return &target{admin, []string{"BusVMNoPublicKeys", "BusVMPublicKeysStale", "BusVMTokensRefused"}, func(ctx context.Context) {
		every(ctx, calm, func() {
			token := hostile.Sign("another secret than that of the gateway", hostile.DefaultHeader, hostile.GoodClaims(time.Now()).String())
			g.send(request("GET "+statusPath, token))
		})
	}}
}

func withBadReload(t testing.TB) *target {
	file := writeYAML(t, "log.level", "debug")
	_, admin := serveAdmin(t, nil, "--config", file)
	return &target{admin, []string{"BusVMReloadFailed"}, func(ctx context.Context) {
		if err := os.WriteFile(file, []byte("log: [\n"), 0o600); err != nil {
			t.Error(err)
		}
		<-ctx.Done()
	}}
}

// withFullDisk keeps its usage records on a disk of one megabyte; nil where
// that cannot be had.
func withFullDisk(t testing.TB) *target {
	if !canMount(t) {
		return nil
	}
	directory := t.TempDir()
	require.NoError(t, syscall.Mount("tmpfs", directory, "tmpfs", 0, "size=1m,mode=0700"))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(directory, syscall.MNT_DETACH)) })
	s := serveStack(t, "BUS_VM_DATA_DIR="+directory)
	return &target{s.admin, []string{"BusVMOutboxCannotWrite"}, func(ctx context.Context) {
		s.platform.Usage.SetBehaviour(platform.Behaviour{Deaf: true}) // so that records need room
		ballast, err := os.Create(filepath.Join(directory, "ballast"))
		for err == nil {
			_, err = ballast.Write(make([]byte, 4096))
		}
		_ = ballast.Close()
		every(ctx, calm, s.start)
	}}
}
