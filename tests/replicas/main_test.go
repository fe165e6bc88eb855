// Package replicas holds three gateways, the built binary, on one PostgreSQL to
// the promise that they are one gateway, whatever dies or freezes meanwhile. The
// platform of tests/platform says what really happened.
//
// At the end of every test the rig puts all right and checks that every request
// was answered, that a 202 has one `requested` and one `finished` record in that
// order, that nothing was published twice, or at all where the caller was told
// so, that a wait was answered with the state that it was for, that no operation is
// open and no record undelivered, and that each operation ended as the worker replied.
package replicas

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// suite is what all tests share.
var suite struct {
	dir    string
	binary func() (string, error) // builds it the first time
}

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "bus-vm-replicas-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	// Most tests wait most of their time. Before flags are parsed, so that -parallel wins.
	if err := flag.Set("test.parallel", "4"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	suite.dir = dir
	suite.binary = sync.OnceValues(build)
	return m.Run()
}

func build() (string, error) {
	binary := filepath.Join(suite.dir, "bus-api-provider-vm")
	return binary, harness.Build("../..", binary, harness.RaceFlags...)
}
