package cli

import (
	"fmt"
	"strings"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/token"
)

// runToken prints one token and nothing else on Stdout, so that TOKEN=$(…) works.
// It is signed with the first JWT secret, which every instance that shares the
// secrets accepts. Settings that serving alone needs may be missing or wrong.
func runToken(args []string, env Env) error {
	flags := newFlagSet(tokenCommand())
	usage := config.ParseFlags(flags, args)
	if isSet(flags, "help") {
		return printHelp(env.Stdout, tokenCommand())
	}
	c, err := config.LoadJWT(config.Input{Flags: flags, Environ: env.Environ})
	claims := token.Claims{
		Subject:  flags.Lookup("sub").Value.String(),
		Audience: flags.Lookup("audience").Value.String(),
		Scope:    flags.Lookup("scope").Value.String(),
	}
	var ok bool
	ttl := flags.Lookup("ttl").Value.String()
	if claims.TTL, ok = config.ParseDuration(ttl); !ok {
		usage = config.Join(usage, config.Refuse("--ttl", fmt.Sprintf("%q is not accepted; want a duration such as 1h; a bare integer is seconds", ttl)))
	}
	if strings.TrimSpace(claims.Scope) == "" {
		usage = config.Join(usage, config.Refuse("--scope", `is needed, for example "vm:read vm:write"`))
	}
	if err := config.Join(usage, err); err != nil {
		return err
	}
	secrets, err := config.LoadJWTSecrets(c)
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
