package app

import (
	"context"
	"slices"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/feed"
	"github.com/busdk/bus-api-provider-vm/internal/store"
	"github.com/busdk/bus-api-provider-vm/routes"
)

const (
	// recentAge and recentLimit are what of its operations an account is told after a
	// gap, latestLimit what operators are.
	recentAge, recentLimit, latestLimit = time.Hour, 1000, 100
)

// recent is feed.Config.Recent.
func recent(operations *store.Store) func(context.Context, feed.Reader) ([]feed.Operation, error) {
	return func(ctx context.Context, r feed.Reader) (told []feed.Operation, err error) {
		var list []store.Operation
		if r.All {
			list, err = operations.Latest(ctx, latestLimit)
		} else {
			list, err = operations.Recent(ctx, r.Account, recentAge, recentLimit)
		}
		for _, op := range slices.Backward(list) {
			told = append(told, shown(operations, op))
		}
		return told, err
	}
}

// shown is an operation as streams show it.
func shown(operations *store.Store, op store.Operation) feed.Operation {
	receipt, stage := op.Told()
	document, _ := routes.RenderOperation(receipt, operations.Estimate("")) // there is nothing in it that JSON cannot show
	return feed.Operation{ID: op.ID, Account: op.Account, Stage: stage, Document: document}
}
