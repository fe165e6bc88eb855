package cli

import (
	"slices"

	"github.com/spf13/pflag"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/token"
	"github.com/busdk/bus-api-provider-vm/middleware"
)

// command describes one command: its flag set, its help and its part of the
// OpenCLI document derive from it.
type command struct {
	name, summary, usage string
	examples             []example
	options              []option // of this command alone
	arguments            []documentArgument
	keep                 func(key string) bool // the settings it obeys
}

// example is a line to paste, and when to.
type example struct {
	Summary string `json:"summary"`
	Command string `json:"command"`
}

// option is a flag that is no setting.
type option struct {
	flag, short, valueName, fallback, usage string
	required                                bool
}

// groupCommand is the group of options that are no settings.
const groupCommand = "This command"

var helpOption = option{flag: "help", short: "h", usage: "Print this help."}

// noSettings is the keep of commands that work in any environment.
func noSettings(string) bool { return false }

// commandNamed is a command that has a name on the command line.
func commandNamed(name string) (command, bool) {
	named := commands()[1:]
	at := slices.IndexFunc(named, func(c command) bool { return c.name == name })
	if at < 0 {
		return command{}, false
	}
	return named[at], true
}

// commands lists serving first; it has no name of its own on the command line.
func commands() []command {
	return []command{serveCommand(), tokenCommand(), doctorCommand(), helpCommand(), versionCommand()}
}

func serveCommand() command {
	return command{
		name:    Name,
		summary: "Serve the VM API.",
		usage:   Name + " [flags]",
		examples: []example{
			{"Try it on this machine; prints a token and three curl lines.", Name + " --dev"},
			{"Static backend with a secret of your own.", "BUS_VM_JWT_SECRET=… " + Name + " --addr 127.0.0.1:8085 --backend static"},
			{"Real runtime through Bus Events.", "BUS_VM_JWT_SECRET=… " + Name + ` --backend events --events-url "$BUS_EVENTS_API_URL" --token-file provider.token`},
			{"Look at the settings before serving with them.", Name + " --config config.yaml --print-config"},
		},
		options: []option{
			{flag: "check-config", usage: "Check the settings and exit: 0 when they are right, 2 when not."},
			{flag: "print-config", usage: "Print the effective settings and where each comes from, without secrets, and exit."},
			{flag: "version", usage: "Print the version and exit."},
			helpOption,
		},
		keep: config.AllFlags,
	}
}

func tokenCommand() command {
	return command{
		name:    "token",
		summary: "Print one HS256 token for development and smoke checks, signed with the first JWT secret.",
		usage:   Name + ` token --scope "vm:read vm:write" [--sub SUBJECT] [--ttl 1h] [--audience ` + middleware.Audience + "]",
		examples: []example{
			{"A token for a service started with --dev.", Name + ` token --dev --scope "vm:read vm:write"`},
			{"A token that lives five minutes.", "BUS_VM_JWT_SECRET=… " + Name + ` token --scope vm:read --ttl 5m`},
		},
		options: []option{
			{flag: "scope", valueName: "scopes", required: true, usage: "Scopes, separated by spaces."},
			{flag: "sub", valueName: "subject", fallback: token.DevSubject, usage: "Subject: the account of the caller; a UUID where billing or usage is on."},
			{flag: "ttl", valueName: "duration", fallback: "1h", usage: "Time until the token expires."},
			{flag: "audience", valueName: "audience", fallback: middleware.Audience, usage: "Audience."},
			helpOption,
		},
		keep: config.JWTFlags,
	}
}

func helpCommand() command {
	return command{
		name:    "help",
		summary: "Print help for people, or the OpenCLI document for programs. Reads no settings.",
		usage:   Name + " help [COMMAND] [--format text|json|opencli]",
		examples: []example{
			{"What the platform's dispatcher asks.", Name + " help --format opencli"},
			{"One command, like its --help.", Name + " help token"},
		},
		options: []option{
			{flag: "format", short: "f", valueName: "text|json|opencli", fallback: "text", usage: "Form of the help; json and opencli are the same document."},
			helpOption,
		},
		arguments: []documentArgument{{Name: "command"}},
		keep:      noSettings,
	}
}

func versionCommand() command {
	return command{
		name:     "version",
		summary:  "Print the version.",
		usage:    Name + " version",
		examples: []example{{"Which build is this?", Name + " version"}},
		options:  []option{helpOption},
		keep:     noSettings,
	}
}

// newFlagSet returns the flags of c.
func newFlagSet(c command) *pflag.FlagSet {
	flags := config.NewFlagSet(c.name, c.keep)
	for _, o := range c.options {
		if o.valueName == "" {
			flags.BoolP(o.flag, o.short, false, o.usage)
		} else {
			flags.StringP(o.flag, o.short, o.fallback, o.usage)
		}
	}
	return flags
}

// isSet reports a boolean flag of command.options that was given.
func isSet(flags *pflag.FlagSet, name string) bool {
	on, err := flags.GetBool(name)
	return err == nil && on
}

// settings are the settings that c obeys.
func (c command) settings() []config.Setting {
	return slices.DeleteFunc(config.Settings(), func(s config.Setting) bool { return !c.keep(s.Key) })
}
