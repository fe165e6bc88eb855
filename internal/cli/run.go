package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/doctor"
	"github.com/busdk/bus-api-provider-vm/internal/token"
	"github.com/busdk/bus-api-provider-vm/internal/version"
)

// runServe serves, or answers one of the questions about the settings.
func runServe(ctx context.Context, l *line, env Env) error {
	// Settings are read in spite of wrong flags, to report everything at once.
	c, err := config.Load(l.input(env))
	if err := config.Join(l.wrong, err); err != nil {
		return err
	}
	c.Log.Source = l.on("trace")
	switch {
	case l.on("print-config"):
		printWarnings(env.Stderr, c)
		return c.Print(env.Stdout)
	case l.on("check-config"):
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
	c, err := config.LoadJWT(l.input(env))
	claims := token.Claims{Subject: l.text("sub"), Audience: l.text("audience"), Scope: l.text("scope")}
	var ok bool
	if claims.TTL, ok = config.ParseDuration(l.text("ttl")); !ok {
		l.refuse("--ttl", quote(l.text("ttl"))+" is not accepted; want a duration such as 1h; a bare integer is seconds")
	}
	if strings.TrimSpace(claims.Scope) == "" {
		l.refuse("--scope", `is needed, for example "vm:read vm:write"`)
	}
	if err := config.Join(l.wrong, err); err != nil {
		return err
	}
	if !l.flags.Changed("audience") {
		claims.Audience = c.JWT.Audiences[0]
	}
	secrets, err := c.JWTSecrets()
	if err != nil {
		return err
	}
	signed, err := token.Mint(secrets[0], claims, env.Now())
	if err != nil {
		return config.Refuse("", err.Error())
	}
	printWarnings(env.Stderr, c)
	_, err = fmt.Fprintln(env.Stdout, signed)
	return err
}

func (l *line) refuse(flag, text string) { l.wrong = config.Join(l.wrong, config.Refuse(flag, text)) }

func quote(text string) string { return fmt.Sprintf("%q", text) }

// Examine looks at everything that serving with c would need, and at the file
// nginxConf, empty for none. Its error is that of Serve.
type Examine func(ctx context.Context, c *config.Config, nginxConf string) (doctor.Report, error)

// runDoctor prints what was found. Wrong settings are a matter of usage, like
// everywhere; then they are all that is looked at.
func runDoctor(ctx context.Context, l *line, env Env) error {
	c, err := config.Load(l.input(env))
	var report doctor.Report
	if err = config.Join(l.wrong, err); err == nil {
		report, err = env.Examine(ctx, c, l.text("nginx-conf"))
	}
	var wrong *config.Error
	if errors.As(err, &wrong) {
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
	case l.text("format") == "json":
		write = report.WriteJSON
	case err != nil: // what is wrong with the settings is said on stderr
		return err
	}
	if failed := report.Count(doctor.Failed); err == nil && failed > 0 {
		err = fmt.Errorf("%d of %d checks failed", failed, len(report.Checks))
	}
	if unwritten := write(env.Stdout); unwritten != nil {
		return unwritten
	}
	return err
}

func runOpenAPI(_ context.Context, l *line, env Env) error {
	if l.wrong != nil {
		return l.wrong
	}
	_, err := env.Stdout.Write(env.OpenAPI)
	return err
}

// runHelp answers from what is compiled in, so that it works in any
// environment.
func runHelp(_ context.Context, l *line, env Env) error {
	about := serveCommand()
	if len(l.operands) > 0 {
		var known bool
		if about, known = commandNamed(l.operands[0]); !known {
			l.wrong = config.Join(l.wrong, &config.Error{Problems: []config.Problem{unknownCommand(l.operands[0])}})
		}
	}
	switch {
	case l.wrong != nil:
		return l.wrong
	case l.text("format") == "text":
		return printHelp(env.Stdout, about)
	}
	return printOpenCLI(env.Stdout, version.String())
}

func runVersion(_ context.Context, l *line, env Env) error {
	if l.wrong != nil {
		return l.wrong
	}
	return printVersion(env.Stdout)
}

func printVersion(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s %s (%s)\n", Name, version.String(), version.Platform())
	return err
}
