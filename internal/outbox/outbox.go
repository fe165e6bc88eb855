// Package outbox keeps usage records on disk until the usage integration has
// acknowledged them, so that no crash, full disk or outage loses one.
//
// Every record goes into one bbolt file. One writer goroutine gathers what
// waits into one transaction (group commit), and a caller returns when the
// transaction that holds its record is synced. Delivery runs beside it and
// asks the writer to delete what was acknowledged.
//
// An operation writes two rows at once: its `requested` record and the
// terminal record it would have if the process died now (`failed`, outcome
// unknown), marked open. Ended overwrites the second row; a restart closes
// what is still open. So an operation that begins always ends, and room for
// its end is taken before its work begins.
package outbox

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// What Requested and Ended return, to be told apart with errors.Is.
var (
	// ErrFull: MaxRecords records wait already. Nothing was written.
	ErrFull = errors.New("the usage outbox is full")
	// ErrCannotWrite: the disk does not take writes. A Requested left no
	// operation behind; an Ended is kept in memory and written once the disk
	// takes writes again.
	ErrCannotWrite = errors.New("the usage outbox cannot write")
	// ErrClosed: Run has ended. An operation that is still open is closed with
	// an unknown outcome at the next start.
	ErrClosed = errors.New("the usage outbox is closed")
)

// Sender hands one record to the usage integration. Nil means acknowledged; an
// error that wraps usage.ErrRefused means that the record will never be taken;
// any other error means "try again". Send returns within a bounded time, and
// soon after ctx ends. It is called concurrently, but never twice at a time
// for the records of one operation.
type Sender interface {
	Send(ctx context.Context, r usage.Record) error
}

// Config is what an Outbox is made of. Zero values take the default of
// limits.go.
type Config struct {
	// Dir is the data directory. It is created with mode 0700 when missing.
	Dir string
	// MaxRecords bounds the records that are not delivered: waiting and parked
	// ones, and the room reserved for the terminal record of every operation.
	MaxRecords int
	// Sender delivers the records. Required.
	Sender Sender
	// LateReply is how long a record with an unknown outcome waits on disk for
	// a reply that makes it known. Zero means not at all.
	LateReply time.Duration
	// RetryMin and RetryMax bound the delays between attempts to deliver.
	RetryMin, RetryMax time.Duration
	// Logger is where faults go; never a token, only ids of records.
	Logger *slog.Logger
	// Metrics receives the metrics bus_vm_outbox_…; nil registers none.
	Metrics *metrics.Set
	// Now stamps records with the wall clock. What waits, waits by the
	// monotonic clock, so a clock step holds nothing up.
	Now func() time.Time
}

// Outbox is an open outbox. All methods are safe for concurrent use.
type Outbox struct {
	config Config
	log    *slog.Logger
	store  *store
	lock   *os.File
	count  counters
	chance func() float64 // in [0, 1)

	// Both have room for one signal; an unread one stands for any number.
	wakeWriter, wakeDelivery chan struct{}

	// mu guards what follows. It is never held over I/O.
	mu     sync.Mutex
	closed bool
	ran    bool
	// cause is why the last commit failed; nil while the disk takes writes.
	cause error
	// probeAt is when the disk is tried again after a failure.
	probeAt time.Time
	// committing is since when a commit is running; zero when none is.
	committing time.Time

	// byID and operations hold the operations with a record to deliver: by ID
	// those of this process, by number, oldest first, all.
	byID       map[string]*operation
	operations *list.List
	next       uint64 // number of the next operation
	room       int    // places of MaxRecords taken
	open       int    // operations of this process that have not ended
	parked     int
	ready      schedule // deliverable now, oldest first
	waiting    schedule // deliverable later, soonest first
	pace       pace

	queue     batch     // what the next transaction takes along
	settledAt time.Time // of the first in queue.settled
	gathering time.Time // since when the queue waits for more to come; zero when it does not
}

// Open locks the data directory, sets a damaged file aside and reads what is
// to be delivered. Operations that the previous process left open are closed
// (`failed`, outcome unknown) by the first transaction of Run.
//
// A directory that is in use, cannot be written, or was written by a newer
// release is an error that says what to do.
func Open(config Config) (*Outbox, error) {
	config = config.withDefaults()
	o := &Outbox{
		config:       config,
		log:          config.Logger,
		chance:       rand.Float64,
		wakeWriter:   make(chan struct{}, 1),
		wakeDelivery: make(chan struct{}, 1),
		byID:         map[string]*operation{},
		operations:   list.New(),
		ready:        schedule{before: byNumber},
		waiting:      schedule{before: byDue},
	}
	var err error
	if o.lock, err = lockDir(config.Dir); err != nil {
		return nil, err
	}
	var found contents
	if o.store, found, err = openStore(config); err != nil {
		return nil, errors.Join(err, o.lock.Close())
	}
	o.load(found)
	o.count = o.register(config.Metrics)
	return o, nil
}

// Close releases an outbox whose Run was never called; Run closes its own.
func (o *Outbox) Close() error {
	o.mu.Lock()
	unused := !o.closed && !o.ran
	o.closed = o.closed || unused
	o.mu.Unlock()
	if !unused {
		return nil
	}
	return o.release()
}

func (o *Outbox) release() error { return errors.Join(o.store.close(), o.lock.Close()) }

func wake(signal chan<- struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}

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
