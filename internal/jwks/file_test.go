package jwks

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

func TestReadFile(t *testing.T) {
	directory := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(directory, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	set, err := ReadFile(write("good", hostile.JWKS(rfcEd25519)))
	require.NoError(t, err)
	assert.Equal(t, 1, set.Len())
	for path, want := range map[string]error{
		filepath.Join(directory, "absent"):                   fs.ErrNotExist,
		write("empty", ""):                                   errNotJSON,
		write("large", strings.Repeat(" ", maxDocument<<1)):  errTooLarge,
		write("secret", `{"keys":[{"kty":"oct","k":"YQ"}]}`): errSymmetric,
		"/dev/zero": errTooLarge,
	} {
		_, err := ReadFile(path)
		assert.ErrorIs(t, err, want, path)
		assert.NotContains(t, err.Error(), directory)
	}
	_, err = ReadFile(directory)
	assert.EqualError(t, err, "is a directory")
}

// A set that could not be put in force is not taken for the current one, so
// the next attempt tries it again.
func TestSourceKeepsWhatIsInForce(t *testing.T) {
	refusal := errors.New("not now")
	var used [][]string
	var answer error
	use := func(set *Set) error { used = append(used, set.IDs()); return answer }
	source := New("", use, slog.New(slog.DiscardHandler), metrics.NewSet())
	first, second := parsed(t, rfcEd25519), parsed(t, rfcRSA)
	for _, step := range []struct {
		set     *Set
		answer  error
		changed bool
	}{
		{first, refusal, false}, {first, nil, true}, {first, nil, false}, {second, refusal, false}, {second, nil, true}, {parsed(t, rfcRSA), nil, false},
	} {
		answer = step.answer
		changed, err := source.Put(step.set)
		assert.Equal(t, step.changed, changed)
		assert.ErrorIs(t, err, step.answer)
	}
	ed, rsa := first.IDs(), second.IDs()
	assert.Equal(t, [][]string{ed, ed, rsa, rsa}, used)
}
