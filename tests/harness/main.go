package harness

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// directory is that of Main.
var directory string

// Directory is where the tests of a package that Main runs share files.
func Directory() string { return directory }

// Main runs the tests of a package, so many at a time, as most of them wait most of their
// time, unless -parallel says otherwise; 0 is as many as there are processors. What end
// returns fails them all.
func Main(m *testing.M, parallel int, end func() error) {
	os.Exit(func() (code int) {
		var err error
		if directory, err = os.MkdirTemp("", "bus-vm-tests-"); err == nil && parallel > 0 {
			err = flag.Set("test.parallel", strconv.Itoa(parallel)) // before flags are parsed
		}
		if err == nil {
			defer os.RemoveAll(directory)
			if code = m.Run(); code == 0 {
				err = end()
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

// FasthttpStays are the goroutines of fasthttp that are no leak: one keeps the date of
// replies for ever, and each server has idle workers for some seconds after its end.
var FasthttpStays = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
	goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
}

// gateway is the product's program.
var gateway = sync.OnceValues(func() (binary string, err error) {
	binary = filepath.Join(directory, "bus-api-provider-vm")
	return binary, Build(moduleRoot, binary, RaceFlags()...)
})

// Gateway is the product's program, built once for the tests that Main runs.
func Gateway(t testing.TB) (binary string) {
	t.Helper()
	binary, err := gateway()
	require.NoError(t, err)
	return binary
}

// Run runs parts until stop or the end of the test. They must end then, without an error.
func Run(t testing.TB, parts ...func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, len(parts))
	for _, run := range parts {
		go func() { ended <- run(ctx) }()
	}
	stop = sync.OnceFunc(func() {
		cancel()
		limit := time.After(WaitLimit)
		for range parts {
			select {
			case err := <-ended:
				assert.NoError(t, err)
			case <-limit:
				t.Errorf("%s after it was told to stop, a part still runs", WaitLimit)
				return
			}
		}
	})
	t.Cleanup(stop)
	return stop
}
