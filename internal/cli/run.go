package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/doctor"
	"github.com/busdk/bus-api-provider-vm/internal/token"
	"github.com/busdk/bus-api-provider-vm/internal/version"
)

// runServe serves, or answers one of the questions about the settings.
func runServe(ctx context.Context, l *line, env Env) error {
	c, err := config.Load(l.input(env))
	if err != nil {
		return err
	}
	c.Log.Source = l.on("--trace")
	switch {
	case l.on("--print-config"):
		printWarnings(env.Stderr, c)
		return c.Print(env.Stdout)
	case l.on("--check-config"):
		printWarnings(env.Stderr, c)
		_, err := fmt.Fprintln(env.Stdout, "configuration ok")
		return err
	}
	return env.Serve(ctx, c, env)
}

// runToken prints one token and nothing else on Stdout, so that TOKEN=$(…) works.
// It is signed with the first JWT secret, which every instance that shares the
// secrets accepts. Settings that serving alone needs may be missing or wrong.
func runToken(_ context.Context, l *line, env Env) error {
	claims := token.Claims{Subject: l.text("--sub"), Audience: l.text("--audience"), Scope: l.text("--scope")}
	var ok bool
	if claims.TTL, ok = config.ParseDuration(l.text("--ttl")); !ok {
		l.wrong.Add("--ttl", "", "%q is not accepted; want a duration such as 1h; a bare integer is seconds", l.text("--ttl"))
	}
	if strings.TrimSpace(claims.Scope) == "" {
		l.wrong.Add("--scope", "", `is needed, for example "vm:read vm:write"`)
	}
	c, err := config.LoadJWT(l.input(env))
	if err != nil {
		return err
	}
	if _, said := l.given["--audience"]; !said {
		claims.Audience = c.JWT.Audiences[0]
	}
	secrets, err := c.JWTSecrets()
	if err != nil {
		return err
	}
	signed, err := token.Mint(secrets[0], claims, env.Now())
	if err != nil {
		return config.Refuse("", "%w", err)
	}
	printWarnings(env.Stderr, c)
	_, err = fmt.Fprintln(env.Stdout, signed)
	return err
}

// runDoctor prints what was found. Wrong settings are a matter of usage, like
// everywhere; then they are all that is looked at.
func runDoctor(ctx context.Context, l *line, env Env) error {
	c, err := config.Load(l.input(env))
	var report doctor.Report
	if err == nil {
		report, err = env.Examine(ctx, c, l.text("--nginx-conf"))
	}
	if wrong, ok := errors.AsType[*config.Error](err); ok {
		for _, problem := range wrong.Problems {
			report.Checks = append(report.Checks, doctor.Check{
				Name: "settings", Status: doctor.Failed, Detail: problem.String(), Do: "correct it; nothing else was looked at",
			})
		}
	} else if err != nil {
		return err
	}
	write := report.WriteText
	switch {
	case l.text("--format") == "json":
		write = report.WriteJSON
	case err != nil: // what is wrong with the settings is said on stderr
		return err
	}
	if failed := report.Failures(); err == nil && failed > 0 {
		err = fmt.Errorf("%d of %d checks failed", failed, len(report.Checks))
	}
	if unwritten := write(env.Stdout); unwritten != nil {
		return unwritten
	}
	return err
}

// runUsage works on parked records, with the settings of the service.
func runUsage(ctx context.Context, l *line, env Env) error {
	action, eventID, _ := strings.Cut(strings.Join(l.operands, " "), " ")
	switch {
	case !slices.Contains([]string{"list", "retry", "drop"}, action):
		return config.Refuse("", "usage wants list, retry or drop")
	case (action == "drop") != (eventID != ""):
		return config.Refuse("", "usage drop wants the event id of one record; list and retry want none")
	}
	c, err := config.LoadUsage(l.input(env))
	if err != nil {
		return err
	}
	printWarnings(env.Stderr, c)
	result, err := env.ManageUsage(ctx, c, env.Stderr, action, eventID)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Stdout, "%s\n", bytes.TrimSpace(result))
	return err
}

func runOpenAPI(_ context.Context, _ *line, env Env) error {
	_, err := env.Stdout.Write(env.OpenAPI)
	return err
}

// runHelp answers from what is compiled in, so that it works in any
// environment.
func runHelp(_ context.Context, l *line, env Env) error {
	if l.text("--format") == "text" {
		return printHelp(env.Stdout, commands()[0])
	}
	_, err := io.WriteString(env.Stdout, strings.Replace(document, "@VERSION@", version.String(), 1))
	return err
}

func runVersion(_ context.Context, _ *line, env Env) error {
	_, err := fmt.Fprintf(env.Stdout, "%s %s (%s %s/%s)\n", Name, version.String(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
