package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/token"
)

// command is one command. Parsing, help, man page and the OpenCLI document all
// derive from it.
type command struct {
	Name, Summary, Usage string
	Operands             []string // names, perhaps with the accepted values, such as action=list|drop
	Options              []option
	Examples             []example

	keep    func(key string) bool // the settings it obeys; nil for none
	formats string                // of its result; text|json has no effect where there is one form only
	mode    os.FileMode           // of a file with its result
	run     func(ctx context.Context, l *line, env Env) error
}

// option is a flag, or a setting without one; without a ValueName it takes no value.
type option struct {
	Name               string // with its dashes; empty for a setting without a flag
	Aliases            []string
	Description, Group string
	Required           bool
	ValueName, Default string // a|b for a value that is one of them

	setting config.Setting // zero for none
	level   string         // of the log, which it stands for
}

// example is a line to paste, and when to.
type example struct{ Summary, Command string }

// commands lists serving first; it has no name of its own on the command line.
var commands func() []command

func init() { commands = sync.OnceValue(describe) } // some of them look at the list

func describe() []command {
	everything := func(string) bool { return true }
	list := []command{{
		Name:    Name,
		Summary: "Serve the VM API.",
		Usage:   Name + " [flags]",
		Examples: []example{
			{"Try it on this machine; prints a token and three curl lines.", Name + " --dev"},
			{"Static backend with a secret of your own.", "BUS_VM_JWT_SECRET=… " + Name + " --addr 127.0.0.1:8085 --backend static"},
			{"Real runtime through Bus Events.", "BUS_VM_JWT_SECRET=… " + Name + ` --backend events --events-url "$BUS_EVENTS_API_URL" --token-file provider.token`},
			{"Look at the settings before serving with them.", Name + " --config config.yaml --print-config"},
		},
		Options: []option{
			{Name: "--check-config", Description: "Check the settings and exit: 0 when they are right, 2 when not."},
			{Name: "--print-config", Description: "Print the effective settings and where each comes from, without secrets, and exit."},
		},
		keep: everything, run: runServe,
	}, {
		Name:    "token",
		Summary: "Print one HS256 token for development and smoke checks, signed with the first JWT secret.",
		Usage:   Name + ` token --scope "vm:read vm:write" [--sub SUBJECT] [--ttl 1h] [--audience AUDIENCE]`,
		Examples: []example{
			{"A token for a service started with --dev.", Name + ` token --dev --scope "vm:read vm:write"`},
			{"A token that lives five minutes.", "BUS_VM_JWT_SECRET=… " + Name + ` token --scope vm:read --ttl 5m`},
		},
		Options: []option{
			{Name: "--scope", ValueName: "scopes", Required: true, Description: "Scopes, separated by spaces."},
			{Name: "--sub", ValueName: "subject", Default: token.DevSubject, Description: "Subject: the account of the caller; a UUID where billing or usage is on."},
			{Name: "--ttl", ValueName: "duration", Default: "1h", Description: "Time until the token expires."},
			{Name: "--audience", ValueName: "audience", Description: "Audience; the first of jwt.audiences without it."},
		},
		keep: config.ForJWT, mode: 0o600, run: runToken,
	}, {
		Name:    "doctor",
		Summary: "Look at everything that serving needs, before traffic does, and say what to do. Changes nothing.",
		Usage:   Name + " doctor [flags] [--nginx-conf FILE] [--format text|json]",
		Examples: []example{
			{"Before the first start, and whenever something is wrong; finds the settings of the package by itself.", Name + " doctor --config config.yaml"},
			{"With the whole configuration of nginx.", "nginx -T > nginx.txt; " + Name + " doctor --config config.yaml --nginx-conf nginx.txt"},
		},
		Options: []option{
			{Name: "--nginx-conf", ValueName: "file", Description: "Configuration of the nginx in front, or what nginx -T prints."},
		},
		keep: everything, run: runDoctor,
	}, {
		Name:    "usage",
		Summary: "List, retry or drop usage records that the usage integration refused (parked records); prints JSON.",
		Usage:   Name + " usage list|retry|drop [EVENT_ID] [flags]",
		Examples: []example{
			{"Which records were refused, and why?", Name + " usage list --config config.yaml"},
			{"Offer all of them again, once the reason is gone.", Name + " usage retry --config config.yaml"},
			{"Give one up for good: it will not be billed.", Name + " usage drop EVENT_ID --config config.yaml"},
		},
		Operands: []string{"action=list|retry|drop", "event_id"},
		keep:     everything, run: runUsage,
	}, {
		Name:     "openapi",
		Summary:  "Print the description of the API (OpenAPI 3.1).",
		Usage:    Name + " openapi",
		Examples: []example{{"For a generator of clients.", Name + " openapi --output openapi.json"}},
		run:      runOpenAPI,
	}, {
		Name:    "help",
		Summary: "Print help for people, or the OpenCLI document for programs. Reads no settings.",
		Usage:   Name + " help [--format text|json|opencli]",
		Examples: []example{
			{"What the platform's dispatcher asks.", Name + " help --format opencli"},
		},
		formats: "text|json|opencli", run: runHelp,
	}, {
		Name:     "version",
		Summary:  "Print the version.",
		Usage:    Name + " version",
		Examples: []example{{"Which build is this?", Name + " version"}},
		run:      runVersion,
	}}
	for i := range list {
		list[i].complete()
	}
	return list
}

// title is how messages call c.
func (c command) title() string {
	if c.Name == Name {
		return "serving"
	}
	return c.Name
}

// globalOptions are the platform's, for every command
// (https://docs.busdk.com/cli/global-flags.html).
func globalOptions(formats string) []option {
	const group = "Every command"
	return []option{
		{Name: "--verbose", Aliases: []string{"-v"}, level: "debug", Group: group, Description: "Same as --log-level debug; may be repeated."},
		{Name: "--quiet", Aliases: []string{"-q"}, level: "error", Group: group, Description: "Same as --log-level error, and results are not printed."},
		{Name: "--trace", level: "debug", Group: group, Description: "Same as --verbose, with the place in the source on each line of the log."},
		{Name: "--color", ValueName: "auto|always|never", Default: "auto", Group: group, Description: "Accepted, as on every command of the platform: nothing here is coloured."},
		{Name: "--no-color", Group: group, Description: "Same as --color never."},
		{Name: "--chdir", Aliases: []string{"-C"}, ValueName: "directory", Group: group, Description: "Change to this directory before anything is read."},
		{Name: "--output", Aliases: []string{"-o"}, ValueName: "file", Group: group, Description: "Write results to this file instead of standard output."},
		{Name: "--format", Aliases: []string{"-f"}, ValueName: formats, Default: "text", Group: group, Description: "Form of the result, where there is more than one."},
		{Name: "--version", Aliases: []string{"-V"}, Group: group, Description: "Print the version and exit, whatever else is asked."},
		{Name: "--help", Aliases: []string{"-h"}, Group: group, Description: "Print this help and exit, whatever else is asked."},
	}
}

// complete adds the settings and the global options to those of c alone, in the
// order of the help.
func (c *command) complete() {
	own := c.Options
	c.Options = nil
	for _, s := range config.Settings() {
		o := option{Name: s.Flag, Description: s.Help, Group: s.Group, ValueName: s.Value, Default: s.Default, setting: s}
		if s.Flag != "" && s.Value == "bool" { // --dev is complete, --dev=no is taken too
			o.ValueName, o.Default = "", ""
		}
		if c.keep != nil && c.keep(s.Key) {
			c.Options = append(c.Options, o)
		}
	}
	for _, o := range append(own, globalOptions(cmp.Or(c.formats, "text|json"))...) {
		o.Group = cmp.Or(o.Group, "This command")
		c.Options = append(c.Options, o)
	}
}

// head is the line of the help that names an option.
func (o option) head() string {
	name, short := o.Name, ""
	if name == "" {
		return fmt.Sprintf("      %s=<%s>", o.setting.Env, o.ValueName)
	}
	if o.ValueName != "" {
		name += " <" + o.ValueName + ">"
	}
	if len(o.Aliases) > 0 {
		short = o.Aliases[0] + ", "
	}
	return strings.TrimRight(fmt.Sprintf("  %-4s%-36s %s", short, name, o.setting.Env), " ")
}

// option finds an option of c.
func (c command) option(name string) (option, bool) {
	for _, o := range c.Options {
		if o.Name == name {
			return o, true
		}
	}
	return option{}, false
}
