package cli

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/nearest"
	"github.com/busdk/bus-api-provider-vm/internal/token"
)

// command describes one command: its flags, its help and its part of the
// OpenCLI document derive from it.
type command struct {
	name, summary, usage string
	examples             []example
	options              []option // of this command alone
	arguments            []documentArgument
	keep                 func(key string) bool // the settings it obeys
	formats              string                // of its result, such as text|json
	mode                 os.FileMode           // of a file with its result
	run                  func(ctx context.Context, l *line, env Env) error
}

// example is a line to paste, and when to.
type example struct {
	Summary string `json:"summary"`
	Command string `json:"command"`
}

// option is a flag that is no setting; without a valueName it takes no value.
type option struct {
	flag, short, valueName, fallback, usage string
	level                                   string // of the log, which it stands for
	required                                bool
}

// words are the values that are accepted, if there are only so many.
func (o option) words() []string { return strings.Split(o.valueName, "|") }

// commands lists serving first; it has no name of its own on the command line.
func commands() []command {
	return []command{serveCommand(), tokenCommand(), doctorCommand(), openAPICommand(), helpCommand(), versionCommand()}
}

// commandNamed is a command that has a name on the command line.
func commandNamed(name string) (command, bool) {
	named := commands()[1:]
	at := slices.IndexFunc(named, func(c command) bool { return c.name == name })
	if at < 0 {
		return command{}, false
	}
	return named[at], true
}

// unknownCommand names the one that may have been meant, or all of them.
func unknownCommand(name string) config.Problem {
	var known []string
	for _, c := range commands()[1:] {
		known = append(known, c.name)
	}
	text := "; the commands are " + strings.Join(known, ", ")
	if near := nearest.Name(name, known); near != "" {
		text = "; did you mean " + near + "?"
	}
	return config.Problem{Text: "unknown command " + quote(name) + text}
}

// The keeps of commands that obey every setting, and of those that work in any
// environment.
func allSettings(string) bool { return true }
func noSettings(string) bool  { return false }

// globalOptions are the platform's, for every command
// (https://docs.busdk.com/cli/global-flags.html).
func (c command) globalOptions() []option {
	return []option{
		{flag: "verbose", short: "v", level: "debug", usage: "Same as --log-level debug; may be repeated."},
		{flag: "quiet", short: "q", level: "error", usage: "Same as --log-level error, and results are not printed."},
		{flag: "trace", level: "debug", usage: "Same as --verbose, with the place in the source on each line of the log."},
		{flag: "color", valueName: "auto|always|never", fallback: "auto", usage: "Accepted, as on every command of the platform: nothing here is coloured."},
		{flag: "no-color", usage: "Same as --color never."},
		{flag: "chdir", short: "C", valueName: "directory", usage: "Change to this directory before anything is read."},
		{flag: "output", short: "o", valueName: "file", usage: "Write results to this file instead of standard output."},
		{flag: "format", short: "f", valueName: c.formats, fallback: "text", usage: "Form of the result, where there is more than one."},
		{flag: "version", short: "V", usage: "Print the version and exit, whatever else is asked."},
		{flag: "help", short: "h", usage: "Print this help and exit, whatever else is asked."},
	}
}

// option finds an option of c, the global ones included.
func (c command) option(flag string) (option, bool) {
	options := slices.Concat(c.options, c.globalOptions())
	at := slices.IndexFunc(options, func(o option) bool { return o.flag == flag })
	if at < 0 {
		return option{}, false
	}
	return options[at], true
}

// settings are the settings that c obeys.
func (c command) settings() []config.Setting {
	return slices.DeleteFunc(config.Settings(), func(s config.Setting) bool { return !c.keep(s.Key) })
}

// takes reports a flag of c.
func (c command) takes(flag string) bool {
	_, isOption := c.option(flag)
	return isOption || slices.ContainsFunc(c.settings(), func(s config.Setting) bool { return s.Flag == flag })
}

// title is how messages call c.
func (c command) title() string {
	if c.name == Name {
		return "serving"
	}
	return c.name
}

// owners lists the commands that take a flag.
func owners(flag string) string {
	var titles []string
	for _, c := range commands() {
		if c.takes(flag) {
			titles = append(titles, c.title())
		}
	}
	return strings.Join(titles, ", ")
}

const oneFormat = "text|json" // accepted without effect where a result has one form only

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
		},
		keep: allSettings, formats: oneFormat, mode: 0o666, run: runServe,
	}
}

func tokenCommand() command {
	return command{
		name:    "token",
		summary: "Print one HS256 token for development and smoke checks, signed with the first JWT secret.",
		usage:   Name + ` token --scope "vm:read vm:write" [--sub SUBJECT] [--ttl 1h] [--audience AUDIENCE]`,
		examples: []example{
			{"A token for a service started with --dev.", Name + ` token --dev --scope "vm:read vm:write"`},
			{"A token that lives five minutes.", "BUS_VM_JWT_SECRET=… " + Name + ` token --scope vm:read --ttl 5m`},
		},
		options: []option{
			{flag: "scope", valueName: "scopes", required: true, usage: "Scopes, separated by spaces."},
			{flag: "sub", valueName: "subject", fallback: token.DevSubject, usage: "Subject: the account of the caller; a UUID where billing or usage is on."},
			{flag: "ttl", valueName: "duration", fallback: "1h", usage: "Time until the token expires."},
			{flag: "audience", valueName: "audience", usage: "Audience; the first of jwt.audiences without it."},
		},
		keep: config.ForJWT, formats: oneFormat, mode: 0o600, run: runToken,
	}
}

func doctorCommand() command {
	return command{
		name:    "doctor",
		summary: "Look at everything that serving needs, before traffic does, and say what to do. Changes nothing.",
		usage:   Name + " doctor [flags] [--nginx-conf FILE] [--format text|json]",
		examples: []example{
			{"Before the first start, and whenever something is wrong.", Name + " doctor --config config.yaml"},
			{"With the whole configuration of nginx.", "nginx -T > nginx.txt; " + Name + " doctor --config config.yaml --nginx-conf nginx.txt"},
		},
		options: []option{
			{flag: "nginx-conf", valueName: "file", usage: "Configuration of the nginx in front, or what nginx -T prints."},
		},
		keep: allSettings, formats: "text|json", mode: 0o666, run: runDoctor,
	}
}

func openAPICommand() command {
	return command{
		name:     "openapi",
		summary:  "Print the description of the API (OpenAPI 3.1).",
		usage:    Name + " openapi",
		examples: []example{{"For a generator of clients.", Name + " openapi --output openapi.json"}},
		keep:     noSettings, formats: oneFormat, mode: 0o666, run: runOpenAPI,
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
		arguments: []documentArgument{{Name: "command"}},
		keep:      noSettings, formats: "text|json|opencli", mode: 0o666, run: runHelp,
	}
}

func versionCommand() command {
	return command{
		name:     "version",
		summary:  "Print the version.",
		usage:    Name + " version",
		examples: []example{{"Which build is this?", Name + " version"}},
		keep:     noSettings, formats: oneFormat, mode: 0o666, run: runVersion,
	}
}
