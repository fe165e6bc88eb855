package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/config"
)

func TestFlagsThatAreWrong(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"all unknown ones":            {[]string{"--one", "--two=2", "-x"}, "3 problems with the settings\n  unknown flag \"--one\"\n  unknown flag \"--two\"\n  unknown flag \"-x\""},
		"a secret has no flag":        {[]string{"--jwt-secret", "hunter2"}, `unknown flag "--jwt-secret"; did you mean --jwt-secret-file?`},
		"nor is its value shown":      {[]string{"--jwt-secret=hunter2"}, `unknown flag "--jwt-secret"; did you mean --jwt-secret-file?`},
		"nor behind a short flag":     {[]string{"-xsecret"}, `unknown flag "-x"`},
		"nor in a cluster":            {[]string{"-vxsecret"}, `unknown flag "-x"`},
		"a flag of Go tests":          {[]string{"-test.v"}, `unknown flag "-t"`},
		"mistyped":                    {[]string{"--adr", ":1"}, `unknown flag "--adr"; did you mean --addr?`},
		"the beginning of one":        {[]string{"--data", "x"}, `unknown flag "--data"; did you mean --data-dir?`},
		"one dash":                    {[]string{"-addr", ":1"}, `flag -addr has one dash; use --addr`},
		"one dash, a value":           {[]string{"-config=x", "-C", "/"}, `flag -config has one dash; use --config`},
		"one dash, mistyped":          {[]string{"-tmeout", "1s"}, `unknown flag "-t"; did you mean --timeout?`},
		"no value":                    {[]string{"--addr"}, "flag --addr needs a value"},
		"no value, short":             {[]string{"-C"}, "flag --chdir needs a value"},
		"bad syntax":                  {[]string{"--=hunter2"}, `bad flag syntax "--"`},
		"a value too many":            {[]string{"--quiet=yes"}, "flag --quiet takes no value"},
		"a lone dash":                 {[]string{"-"}, `unknown command "-"; the commands are token, doctor, usage, openapi, help, version`},
		"of another command":          {[]string{"--scope", "x"}, "--scope: is a flag of token; not of serving"},
		"a long name behind one dash": {[]string{"-vchdir=/"}, `flag -chdir has one dash; use --chdir`},
		"a colour":                    {[]string{"--color", "red"}, `--color: "red" is not accepted; want auto, always, never`},
		"a format":                    {[]string{"-f", "tsv"}, `--format: "tsv" is not accepted; want text, json`},
		"loud and quiet":              {[]string{"-v", "-q"}, "log.level (flags --quiet, --verbose): want at most one of them"},
		"two levels":                  {[]string{"--log-level=info", "--trace"}, "log.level (flags --log-level, --trace): want at most one of them"},
		"behind two dashes":           {[]string{"version", "--", "--help"}, `unexpected argument "--help"`},
	} {
		t.Run(name, func(t *testing.T) {
			require.EqualError(t, parse(tc.args).wrong.OrNil(), tc.want)
		})
	}
}

// TestGlobalFlags: in front of each command and behind it, and again.
func TestGlobalFlags(t *testing.T) {
	for _, flags := range [][]string{
		{"-v"}, {"-vv", "--verbose"}, {"-q"}, {"--quiet"}, {"--trace", "-v"}, {"--color", "never"}, {"--color=always"}, {"--no-color"},
		{"-C", "/"}, {"--chdir", "/"}, {"-o", "x"}, {"--output=x"}, {"-f", "json"}, {"--format", "text"},
	} {
		for _, command := range []string{"", "token", "doctor", "usage", "openapi", "help", "version"} {
			for _, args := range [][]string{append([]string{command}, flags...), append(flags, command), append(append(flags, command), flags...)} {
				if command == "" {
					args = flags
				}
				if l := parse(args); l.wrong.OrNil() != nil || command != "" && l.command.Name != command {
					t.Errorf("%q: %v, command %s", args, l.wrong, l.command.Name)
				}
			}
		}
	}
}

func TestFlagsInFrontOfACommand(t *testing.T) {
	want := run(t, []string{"token", "--scope", "x", "--dev"}, nil, nil)
	for _, args := range [][]string{{"--dev", "token", "--scope", "x"}, {"--scope", "x", "--dev", "token"}, {"-f", "text", "--dev", "--no-color", "token", "--scope=x"}} {
		if got := run(t, args, nil, nil); got != want || got.code != 0 {
			t.Errorf("%q: got %+v", args, got)
		}
	}
}

func TestLevels(t *testing.T) {
	for _, tc := range []struct {
		args   []string
		level  string
		source bool
	}{{nil, "WARN", false}, {[]string{"-v"}, "DEBUG", false}, {[]string{"--quiet"}, "ERROR", false}, {[]string{"--trace"}, "DEBUG", true}} {
		run(t, append(tc.args, "--dev"), []string{"BUS_VM_LOG_LEVEL=warn"}, func(_ context.Context, c *config.Config, _ Env) error {
			if c.Log.Level.String() != tc.level || c.Log.Source != tc.source {
				t.Errorf("%q: got %+v", tc.args, c.Log)
			}
			return nil
		})
	}
}

// TestOutput: results go to the file, with --quiet nowhere; messages stay.
func TestOutput(t *testing.T) {
	directory := t.TempDir()
	t.Chdir(t.TempDir())
	secret := []string{"BUS_VM_JWT_SECRET=" + testSecret}
	for _, args := range [][]string{{"token", "--scope=x"}, {"version"}, {"help"}, {"help", "-f", "opencli"}, {"--print-config"}, {"--check-config"}, {"openapi"}} {
		plain := run(t, args, secret, nil)
		if plain.code != 0 || plain.stdout == "" {
			t.Errorf("%q: got %+v", args, plain)
		}
		got := run(t, append([]string{"-C", directory, "--output", "out"}, args...), secret, nil)
		text, err := os.ReadFile(filepath.Join(directory, "out"))
		if err != nil || string(text) != plain.stdout || (got != outcome{}) {
			t.Errorf("%q: got %+v and %q, %v", args, got, text, err)
		}
		if question := args[0] == "help" || args[0] == "version" || args[0] == "--print-config"; !question {
			if got := run(t, append(args, "-q", "-o", "nothing"), secret, nil); (got != outcome{}) {
				t.Errorf("%q: got %+v", args, got)
			}
		}
	}
	require.NoFileExists(t, "nothing", "a quiet command made its file")
}

func TestDirectoryComesFirst(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("settings.yaml", []byte("addr: 127.0.0.1:1\n"), 0o600))
	directory, err := os.Getwd()
	require.NoError(t, err)
	t.Chdir("/")
	got := run(t, []string{"--config", "settings.yaml", "--print-config", "--chdir", directory}, []string{"BUS_VM_JWT_SECRET=" + testSecret}, nil)
	if got.code != 0 || !strings.Contains(got.stdout, "addr: 127.0.0.1:1 # file settings.yaml line 1\n") {
		t.Errorf("got %+v", got)
	}
}

func TestPlacesThatCannotBeUsed(t *testing.T) {
	for want, args := range map[string][]string{
		": --chdir: chdir /nonexistent: no such file or directory\n":   {"-C", "/nonexistent", "version"},
		": --output: open /nonexistent/x: no such file or directory\n": {"version", "-o", "/nonexistent/x"},
		": --output: open /: is a directory\n":                         {"-o", "/", "--dev"},
		": write /dev/full: no space left on device\n":                 {"version", "-o", "/dev/full"},
		": unknown flag \"--adr\"; did you mean --addr?\n" + hint:      {"-C", "/nonexistent", "--adr"},
	} {
		if got := run(t, args, nil, nil); got.stderr != Name+want || got.stdout != "" || got.code == 0 || (got.code == 2) != strings.Contains(want, "See") {
			t.Errorf("%q: got %+v", args, got)
		}
	}
}

// FuzzParse reads any command line: nothing panics.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"--jwt-secret=x", "-vx token", "--scop x token", "-= --=x - ---", "-config=x -- -h", "-vqox -f", "-C", "help x -\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, words string) { parse(strings.Fields(words)) })
}
