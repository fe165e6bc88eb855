package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// exchange is one request and the replies that are right for it.
type exchange struct {
	raw  string
	want []string
}

// hammer lets each of a number of clients make the exchanges that next has for
// it, one after the other on a connection that it replaces after so many of them.
// It returns the first wrong answer of each client that got one.
func hammer(addr string, clients, perConnection int, next func(client, i int) (x exchange, more bool)) error {
	failures := make([]error, clients)
	one := func(client int) (err error) {
		var c *connection
		for i := 0; ; i++ {
			x, more := next(client, i)
			if c != nil && (!more || i%perConnection == 0) {
				_ = c.Close()
				c = nil
			}
			if !more {
				return nil
			}
			if c == nil {
				if c, err = dialTo(addr); err != nil {
					return err
				}
			}
			_ = c.SetDeadline(time.Now().Add(harness.WaitLimit))
			got, err := c.send(x.raw).reply(strings.SplitN(x.raw, " ", 2)[0])
			if err != nil || !slices.Contains(x.want, carried(got)) {
				_ = c.Close()
				return fmt.Errorf("client %d, request %d: %w, %q", client, i, err, got)
			}
		}
	}
	var group sync.WaitGroup
	for client := range clients {
		group.Go(func() { failures[client] = one(client) })
	}
	group.Wait()
	return errors.Join(failures...)
}

// kept is how many exchanges a connection carries where it should be kept.
const kept = 25

// 24 clients with 150 requests each, of all kinds, a third of them with tokens
// never seen before.
func TestManyClientsAreAnsweredRight(t *testing.T) {
	const clients, each = 24, 150
	g := serve(t, []string{"BUS_VM_LOG_LEVEL=info"}, "--usage-backend", "memory")
	bad := badTokens()
	known := [3]string{mint("vm:read vm:write"), mint("vm:read"), mint("vm:write")}
	eitherState := []string{okStatus, okStopped}
	answers := func(client, i int) exchange {
		token := func(which int, scope string) string {
			if i%3 == 0 {
				return mint(scope)
			}
			return known[which]
		}
		switch n := client + i; n % 8 {
		case 0, 1:
			return exchange{request("GET "+statusPath, token(1, "vm:read")), eitherState}
		case 2:
			return exchange{request("POST "+startPath, token(2, "vm:write")), []string{okStart}}
		case 3:
			return exchange{withBody("POST "+stopPath, token(0, "vm:read vm:write"), "{}"), []string{okStop}}
		case 4:
			return exchange{request("POST "+stopPath, token(1, "vm:read")), []string{lacking("vm:write")}}
		case 5:
			return exchange{request("GET "+statusPath, token(2, "vm:write")), []string{lacking("vm:read")}}
		case 6:
			b := bad[n%len(bad)]
			return exchange{request("GET "+statusPath, b.Text), []string{invalidToken, expiredToken}}
		default:
			return exchange{request("HEAD "+statusPath, token(0, "vm:read vm:write")), []string{headOf(okStatus), headOf(okStopped)}}
		}
	}
	require.NoError(t, hammer(g.addr, clients, kept, func(client, i int) (exchange, bool) { return answers(client, i), i < each }))
}
