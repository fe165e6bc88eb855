package outbox

import (
	"context"
	"errors"
	"fmt"
)

// Run writes and delivers until ctx ends. It returns after its children, with
// the file closed and everything queued on disk or reported; what is not
// delivered waits for the next start. Nil means that ctx ended it.
//
// An error means that the file broke while it was open: the process should
// end, because the next start copies the file or sets it aside.
func (o *Outbox) Run(ctx context.Context) error {
	o.mu.Lock()
	again := o.ran || o.closed
	o.ran = true
	o.mu.Unlock()
	if again {
		return fmt.Errorf("%w: Run is called once", ErrClosed)
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop, written := make(chan struct{}), make(chan error, 1)
	go func() {
		err := o.write(stop)
		cancel()
		written <- err
	}()
	// Delivery ends first, so that what it had acknowledged is deleted by the
	// writer's last transaction. From then on nothing is added to that transaction, so
	// that the writer answers everyone who waits before it returns.
	delivered := o.deliver(ctx)
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	close(stop)
	damage := errors.Join(delivered, <-written)
	if damage != nil {
		// The file stays open: bbolt may have died with its lock held, and the
		// end of the process closes it.
		o.log.Error("the usage outbox found its file damaged", "dir", o.config.Dir, "cause", damage,
			"do", "restart the process: it copies what can be read to a new file, or else sets the file aside and says where")
		return damage
	}
	return o.release()
}
