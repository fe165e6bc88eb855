package cli

import (
	"strings"
	"testing"
)

// FuzzParse reads any command line: nothing panics.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"--jwt-secret=x", "-vx token", "--scop x token", "-= --=x - ---", "-config=x -- -h", "-vqox -f", "-C", "help x -\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, words string) { parse(strings.Fields(words)) })
}
