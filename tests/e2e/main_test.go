package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// moduleRoot is where `go build` finds the program.
const moduleRoot = "../.."

// suite is what all tests share. It is filled once, before the first of them.
var suite struct {
	binary string
	race   bool
	logged logs
}

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	directory, err := os.MkdirTemp("", "bus-vm-e2e-")
	if err != nil {
		return complain(err)
	}
	defer os.RemoveAll(directory)

	suite.race = os.Getenv("E2E_RACE") == "1"
	suite.binary = filepath.Join(directory, "bus-api-provider-vm")
	if err := build(moduleRoot, suite.binary, suite.race); err != nil {
		return complain(err)
	}
	suite.logged.keepOut(jwtSecret)
	suite.logged.keepOut(providerToken)
	code := m.Run()
	if leaks := suite.logged.leaks(); len(leaks) > 0 {
		for _, leak := range leaks {
			fmt.Fprintln(os.Stderr, "in a log: "+leak)
		}
		return 1
	}
	return code
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// build compiles the main package in directory.
func build(directory, binary string, race bool) error {
	args := []string{"build", "-o", binary}
	if race {
		args = append(args, "-race")
	}
	command := exec.Command("go", append(args, ".")...)
	command.Dir = directory
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build in %s: %w\n%s", directory, err, output)
	}
	return nil
}
