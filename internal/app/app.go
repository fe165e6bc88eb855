// Package app puts the gateway together from its settings and runs it.
package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/gofiber/fiber/v2"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/admin"
	"github.com/busdk/bus-api-provider-vm/internal/billing"
	"github.com/busdk/bus-api-provider-vm/internal/cli"
	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/feed"
	"github.com/busdk/bus-api-provider-vm/internal/jwks"
	"github.com/busdk/bus-api-provider-vm/internal/secret"
	"github.com/busdk/bus-api-provider-vm/internal/server"
	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
	"github.com/busdk/bus-api-provider-vm/internal/store"
	"github.com/busdk/bus-api-provider-vm/internal/version"
	"github.com/busdk/bus-api-provider-vm/middleware"
	"github.com/busdk/bus-api-provider-vm/routes"
)

// The kernel gives SIGTERM to the main thread, which would not see it while a file system
// holds it: no goroutine but the first, which waits, runs on that.
func init() { runtime.LockOSThread() }

// Main runs the command line in args (without the name of the program) in the
// environment of this process and returns the exit code. The first SIGTERM or
// SIGINT drains, the second ends the process; SIGHUP reloads.
func Main(args []string) int {
	ctx, drain := context.WithCancel(context.Background())
	defer drain()
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	go func() { // until the process ends
		<-end
		signal.Stop(end) // before anyone can see the drain: then a second signal ends the process
		drain()
	}()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	return cli.Main(ctx, args, cli.Env{
		Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr, Now: time.Now, Hangup: hangup,
		Serve: Serve, Examine: Examine, ManageUsage: ManageUsage, OpenAPI: routes.OpenAPI,
	})
}

// app is what the parts of one gateway share.
type app struct {
	config  *config.Config
	logger  *slog.Logger
	level   *slog.LevelVar // of logger
	metrics *metrics.Set
	auth    *middleware.Authenticator
	token   *events.TokenSource // of the provider; nil without Events

	stop    context.CancelFunc // begins the end
	systemd systemd

	parts  []func(context.Context) error // each runs until its context ends, which is no error
	last   func(context.Context) error   // likewise, but ends after all parts and requests, which write to it
	checks []admin.Check                 // of readiness, and what operators read beside them

	publicKeys *jwks.Source // nil without a JWKS

	// What the reloader has to itself once it runs.
	latest    *config.Config // the last good settings
	secrets   [][]byte       // in force
	inspected secret.String  // the last token of the provider

	left atomic.Pointer[func() []string] // what may hang at the end, empty for nothing
}

func (a *app) add(run func(context.Context) error) { a.parts = append(a.parts, run) }

// Serve runs the gateway with settings c until ctx ends, then drains it. What is
// wrong with the settings or the machine shows before anything runs.
//
// It returns endGrace after the shutdown delay and timeout at the latest, and leaves
// behind what hangs then. SIGPIPE is ignored: the reader of the log may end.
func Serve(ctx context.Context, c *config.Config, env cli.Env) error {
	signal.Ignore(syscall.SIGPIPE)
	warnOfLimit(c)
	a := &app{config: c, latest: c, metrics: metrics.NewSet(), systemd: dialSystemd()}
	ctx, a.stop = context.WithCancel(ctx)
	defer a.stop()
	a.logger, a.level = newLogger(c, env.Log)
	a.metrics.NewGauge("bus_vm_log_dropped_lines_total", func() float64 { return float64(env.Log.Dropped()) })
	env.Log.OnLoss(func(lines int) {
		a.logger.Error("log lines were dropped: what reads the log did not take them, or could not", "lines", lines,
			"do", "look at what reads stderr of this service, and at its disk")
	})
	hangs, err := store.Within(ctx, c.Shutdown.Delay+c.Shutdown.Timeout+endGrace, func() error { return a.serve(ctx, c, env) })
	if !hangs {
		return err
	}
	left := "what was being started or ended"
	if all := a.left.Load(); all != nil {
		left = cmp.Or(strings.Join(slices.DeleteFunc((*all)(), func(each string) bool { return each == "" }), ", "), left)
	}
	return fmt.Errorf("not ended %s after the shutdown delay and timeout; left behind: %s", endGrace, left)
}

// endGrace is for the end of what serves requests, once these have had their time.
// With the last lines of the log it makes a second.
const endGrace = 3 * time.Second / 4

func (a *app) serve(ctx context.Context, c *config.Config, env cli.Env) (failure error) {
	// 1. Changed files and SIGHUP are followed before anything reads those files,
	// so that no change is missed. With --dev a hangup ends the gateway.
	a.follow(env.Hangup)

	// 2. Keys for callers' tokens. Those from a URL come later, and /readyz waits.
	if err := a.authenticate(); err != nil {
		return err
	}

	// 3. The Events API, billing and usage.
	var client *events.Client
	var err error
	if c.NeedsEvents() {
		if client, err = a.connect(); err != nil {
			return err
		}
	}
	var entitlement middleware.EntitlementChecker
	if c.Billing.Backend == config.Events {
		entitlement = billing.NewChecker(client)
	}
	waiting := newWaiting(a.metrics)
	var streams *feed.Feed // nothing changes before it is there
	operations, err := a.openStore(ctx, client, func(r lifecycle.Receipt, elsewhere bool) {
		waiting.changed(r, elsewhere)
		streams.Publish(shown(waiting.operations, r))
	})
	if err != nil {
		return err
	}
	defer func() { failure = errors.Join(failure, operations.Close()) }()

	// 4. The runtime.
	machine, err := backend.New(c.Backend, backend.Config{
		Static: backend.StaticConfig(c.Static),
		Events: backend.EventsConfig{
			Client: client,
			Status: snapshot.Config{
				Timeout: c.Timeout, MaxAge: c.Status.MaxAge, Refresh: c.Status.Refresh, RefreshMoving: c.Status.RefreshMoving,
				Metrics: a.metrics,
			},
			Settle: operations.Settle, Overheard: waiting.reply,
		},
	})
	if err != nil {
		return err
	}
	waiting.operations, waiting.runtime = operations, machine
	a.add(machine.Run)
	a.add(waiting.run)

	// 5. The API and its listener; a socket that systemd opened wins over the settings.
	noWaits, endWaits := context.WithCancel(context.Background())
	defer endWaits()
	streams = feed.New(feed.Config{Runtime: machine, Recent: recent(operations), Over: noWaits.Done(), Metrics: a.metrics})
	a.add(streams.Run)
	api := server.New(server.Config{Server: c.Server, Shutdown: c.Shutdown, Draining: endWaits, Logger: a.logger, Metrics: a.metrics}, func(router fiber.Router) {
		routes.Mount(router, routes.Config{
			Backend: machine, Auth: a.auth, Entitlement: entitlement, Operations: operations,
			Billed: c.Usage.Backend == config.Events || c.Usage.Backend == config.Memory, Timeout: c.Timeout, Ready: a.ready,
			Wait: &routes.Wait{
				Superseded: waiting.superseded, Estimate: waiting.left,
				Max: c.Wait.Max, MaxAge: c.Status.MaxAge, Waiters: c.Wait.Waiters, Over: noWaits.Done(),
			},
			Feed: streams, Streams: c.Wait.Streams,
			WritesInFlight: c.Limits.WritesInFlight, WritesPerSecond: c.Limits.WritesPerSecond,
			Logger: a.logger, Metrics: a.metrics,
		})
	})
	a.left.Store(new(func() []string { return []string{operations.Left(), api.Left()} }))
	a.checks = append([]admin.Check{{Name: "not draining", Ready: api.Ready}}, a.checks...)
	inherited, err := inheritSocket()
	if err != nil {
		return err
	}
	adminListener, err := a.listen("admin", "--admin-addr", nil, c.Admin.Addr, config.AdminSocket)
	if err != nil {
		return err
	}
	operators := "" // where they may connect
	if adminListener != nil {
		defer adminListener.Close()
		operators = adminListener.Addr().String()
	}
	listener, err := a.listen("api", "--addr", inherited, c.Addr, c.Socket)
	if err != nil {
		return err
	}
	defer listener.Close()
	alive := a.alive(api)
	a.add(func(ctx context.Context) error { return a.systemd.run(ctx, alive) })

	// 6. The listener for operators, which shows all of the above.
	if adminListener != nil {
		shown := admin.Config{
			Metrics: a.metrics, Feed: streams, Pprof: c.Admin.Pprof, API: listener.Addr(), Logger: a.logger,
			Checks: a.checks, Endpoints: endpoints(operations, a.logger),
		}
		a.add(func(ctx context.Context) error { return admin.Serve(ctx, adminListener, shown) })
	}

	if c.Dev {
		if err := a.greet(env.Stdout, listener.Addr()); err != nil {
			return err
		}
	}
	a.announce(listener.Addr().String(), operators)
	return a.run(ctx, api, listener)
}

// run serves until ctx ends. Traffic drains before its plumbing:
//
//  1. the server stops taking requests and finishes those in flight;
//  2. then the backend, the Events client and the delivery of records end;
//  3. requests that still waited for one of these get an error;
//  4. the operations store, to which all of them write, ends last.
//
// If a part fails, the server drains all the same and the failure is returned.
func (a *app) run(ctx context.Context, api *server.Server, listener net.Listener) error {
	defer runtime.KeepAlive(make([]byte, heapBallast))
	a.systemd.notify(daemon.SdNotifyReady)
	apart := context.WithoutCancel(ctx)
	serving, stopServing := context.WithCancel(apart)
	defer context.AfterFunc(ctx, func() { a.systemd.notify(daemon.SdNotifyStopping); stopServing() })()
	behind, stopBehind := context.WithCancel(apart)
	beneath, stopBeneath := context.WithCancel(apart)
	defer stopBeneath()

	ended, last := make(chan error), make(chan error, 1)
	start := func(part func(context.Context) error, ctx context.Context, ended chan<- error) {
		go func() {
			err := part(ctx)
			a.stop()
			stopBehind()
			ended <- err
		}()
	}
	for _, part := range a.parts {
		start(part, behind, ended)
	}
	start(a.last, beneath, last)
	failures := []error{api.Run(serving, listener)}
	stopBehind()
	for range a.parts {
		failures = append(failures, <-ended)
	}
	api.AwaitLast()
	stopBeneath()
	return errors.Join(append(failures, <-last)...)
}

// ready returns the first reason not to get traffic.
func (a *app) ready() error {
	for _, check := range a.checks {
		if err := check.Ready(); err != nil && !check.Shown {
			return err
		}
	}
	return nil
}

const otherFiles = 64 // room for the store, streams, log and secrets

// warnOfLimit adds to the warnings of c where connections may take all files: then the
// service would accept no more, and send no start or stop. Go has raised the soft limit
// to the hard one.
func warnOfLimit(c *config.Config) {
	need := c.Server.MaxConnections + server.Overflow + 2*admin.MaxConnections + otherFiles // operators may go on to the API
	if c.NeedsEvents() {
		need += c.Limits.WritesInFlight // each publishes on a connection of its own
	}
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil && uint64(limit.Cur) < uint64(need) {
		c.Warnings = append(c.Warnings, fmt.Sprintf("the limit of open files (%d) is below the %d that server.max_connections (%d) and the rest may take; "+
			"raise it (LimitNOFILE=, ulimit -n) or lower server.max_connections", limit.Cur, need, c.Server.MaxConnections))
	}
}

// newLogger writes to w as c asks for. The level may be changed at any time.
func newLogger(c *config.Config, w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := &slog.LevelVar{}
	level.Set(c.Log.Level)
	options := &slog.HandlerOptions{Level: level, AddSource: c.Log.Source}
	if c.Log.Format == config.LogJSON {
		options.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr {
			if a.Value.Kind() == slog.KindDuration { // 1.5ms, as in text, not a number without a unit
				a.Value = slog.StringValue(a.Value.Duration().String())
			}
			return a
		}
		return slog.New(slog.NewJSONHandler(w, options)), level
	}
	return slog.New(slog.NewTextHandler(w, options)), level
}

// announce logs what was found and is unwise, and last the one line that says what was started.
func (a *app) announce(addr, operators string) {
	if a.config.Found != "" {
		a.logger.Info("found settings and secrets of the package", "files", a.config.Found)
	}
	for _, warning := range a.config.Warnings {
		a.logger.Warn(warning)
	}
	logger := a.logger
	if a.config.NeedsEvents() && !a.config.Events.ListenerRequired {
		logger = logger.With("readyz", ignoresStreams)
	}
	logger.Info("serving", "version", version.String(), "addr", addr,
		"backend", a.config.Backend, "billing", a.config.Billing.Backend, "usage", a.config.Usage.Backend,
		"events", a.config.Events.URL, // empty, or a URL without a secret: settings see to that
		"admin", operators)
}

// heapBallast is address space, never touched, that the garbage collector counts, in
// bytes: the few megabytes alive would be collected hundreds of times a second under a
// flood of new tokens.
const heapBallast = 8 << 20
