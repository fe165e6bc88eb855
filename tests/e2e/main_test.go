package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// moduleRoot is where `go build` finds the program.
const moduleRoot = "../.."

// suite is what all tests share.
var suite struct {
	directory string // removed at the end
	logged    logs
}

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	directory, err := os.MkdirTemp("", "bus-vm-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(directory)
	suite.directory = directory
	suite.logged.keepOut(jwtSecret)
	suite.logged.keepOut(providerToken)

	code := m.Run()
	for _, leak := range suite.logged.leaks() {
		fmt.Fprintln(os.Stderr, "in a log: "+leak)
		code = 1
	}
	return code
}

// built is the binary under test.
var built = sync.OnceValues(func() (binary string, err error) {
	if err := declareSources(); err != nil {
		return "", err
	}
	binary = filepath.Join(suite.directory, "bus-api-provider-vm")
	return binary, build(moduleRoot, binary)
})

func program(t testing.TB) string {
	t.Helper()
	binary, err := built()
	require.NoError(t, err)
	return binary
}

// build compiles the main package in directory, with the race detector when
// E2E_RACE=1.
func build(directory, binary string, flags ...string) error {
	args := append([]string{"build", "-o", binary}, flags...)
	if raceDetector() {
		args = append(args, "-race")
	}
	command := exec.Command("go", append(args, ".")...)
	command.Dir = directory
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s in %s: %w\n%s", strings.Join(args, " "), directory, err, output)
	}
	return nil
}

func raceDetector() bool { return os.Getenv("E2E_RACE") == "1" }

// declareSources reads every directory of the product, so that `go test` knows
// them as inputs of these tests: it sees what a test opens, but not what a
// compiler does for it, and would show a cached result of another binary.
func declareSources() error {
	return filepath.WalkDir(moduleRoot, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && entry.Name() == ".git" {
			return filepath.SkipDir
		}
		return err
	})
}
