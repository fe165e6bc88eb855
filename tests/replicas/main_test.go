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
	"testing"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m, 4, func() error { return nil }) }
