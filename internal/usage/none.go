package usage

import (
	"context"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// None records nothing: the recorder of `--usage-backend none`.
type None struct{}

// Requested always succeeds.
func (None) Requested(context.Context, lifecycle.Operation) error { return nil }

// Ended always succeeds.
func (None) Ended(lifecycle.Operation, lifecycle.Outcome, time.Duration) error { return nil }
