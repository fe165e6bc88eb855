package app

import (
	"context"
	"slices"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/feed"
	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/store"
	"github.com/busdk/bus-api-provider-vm/routes"
)

const (
	// recentAge is how far back the operations reach that an account is sent after a gap,
	// latestLimit is how many operators are.
	recentAge, latestLimit = time.Hour, 100
)

// recent is feed.Config.Recent.
func recent(operations *store.Store) func(context.Context, feed.Reader) ([]feed.Operation, error) {
	return func(ctx context.Context, r feed.Reader) (recent []feed.Operation, err error) {
		var list []lifecycle.Receipt
		if r.All {
			list, err = operations.Latest(ctx, latestLimit)
		} else {
			list, err = operations.Recent(ctx, r.Account, recentAge)
		}
		for _, op := range slices.Backward(list) {
			recent = append(recent, shown(operations, op))
		}
		return recent, err
	}
}

// shown is an operation as streams show it.
func shown(operations *store.Store, r lifecycle.Receipt) feed.Operation {
	document, _ := routes.RenderOperation(r, operations.Estimate()) // there is nothing in it that JSON cannot show
	return feed.Operation{ID: r.ID, Account: r.Account, Stage: r.Stage(), Document: document}
}
