package outbox

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets the test binary play the processes that the tests kill.
func TestMain(m *testing.M) {
	if play := children[os.Getenv(childEnv)]; play != nil {
		if err := play(os.Getenv(childDirEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}
