package config

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// testSecret is long enough to make no warning.
const testSecret = "a-secret-of-the-tests-that-is-long-enough"

// withSecret is an environment in which nothing is missing.
func withSecret(more ...string) []string {
	return append([]string{"BUS_VM_JWT_SECRET=" + testSecret}, more...)
}

// flagsOf makes flags of --name=text; --name is true, and --verbose another one.
func flagsOf(args ...string) map[string]Flag {
	flags := map[string]Flag{}
	for _, arg := range args {
		typed, text, valued := strings.Cut(arg, "=")
		switch {
		case typed == "--verbose":
			flags["--log-level"] = Flag{"debug", "flag " + typed}
		case !valued:
			flags[typed] = Flag{"true", "flag " + typed}
		default:
			flags[typed] = Flag{text, "flag " + typed}
		}
	}
	return flags
}

func rewrite(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

// loaded is a Load that must succeed.
func loaded(t *testing.T, in Input) *Config {
	t.Helper()
	c, err := Load(in)
	require.NoError(t, err)
	return c
}

// problemsOf is a Load that must fail.
func problemsOf(t *testing.T, in Input) []Problem {
	t.Helper()
	_, err := Load(in)
	var e *Error
	require.ErrorAs(t, err, &e)
	return e.Problems
}

// same compares two Configs but for where they came from.
func same(t *testing.T, got, want *Config) {
	t.Helper()
	a, b := *got, *want
	a.origin, b.origin = nil, nil
	require.Equal(t, b, a)
}

// printed is what Print writes.
func printed(t *testing.T, c *Config) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, c.Print(&b))
	return b.String()
}
