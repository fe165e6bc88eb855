package outbox

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// Defaults of Config.
const (
	defaultMaxRecords = 100_000
	defaultRetryMin   = 200 * time.Millisecond
	defaultRetryMax   = 30 * time.Second
)

// Files of the data directory.
const (
	fileName  = "outbox.db"
	freshName = "outbox.db.new"
	lockName  = "outbox.lock"

	damagedInfix = ".damaged-" // then the time, in the name of a file that was set aside
)

const (
	// maxSending is how many records are on their way to the sender at a time:
	// 1,000 a second with answers that take 60 ms.
	maxSending = 64
	// maxRequests bounds the operations that one transaction begins.
	maxRequests = 1024

	// While crowd operations or more are under way, a commit waits until half of
	// them have something to write, for gatherFor at most: they would follow one
	// by one otherwise, and a commit costs the same for one as for all. 500
	// writes a second with a fast worker are no crowd.
	crowd     = 32
	gatherFor = 8 * time.Millisecond

	// Acknowledged records are deleted along with the next write, or when
	// settleAfter has passed, or settleCount have gathered. A crash before
	// that delivers them again.
	settleAfter = 200 * time.Millisecond
	settleCount = 1024

	// A disk that refused a write is tried every probeEvery, with enough bytes
	// (probeBytes) that its success means something.
	probeEvery = time.Second
	probeBytes = 64 << 10

	// A commit that runs longer than stallAfter makes Healthy complain; Ended
	// gives its caller an error after endedWait, and goes on in the background.
	stallAfter = 5 * time.Second
	endedWait  = 10 * time.Second

	// idle is how long the writer and delivery sleep when nothing is due; work
	// wakes them.
	idle = time.Hour

	// lockWait is how long another process may take to let go of the directory.
	lockWait  = 2 * time.Second
	lockRetry = 50 * time.Millisecond

	// copyBytes is how much the copy at start puts into one transaction.
	copyBytes = 1 << 20

	// What is longer in a file is damage. A parked row may quote an unreadable
	// one in base64; reasonBytes bounds the sender's words in it.
	maxKey       = 64
	maxRow       = 1 << 20
	maxParkedRow = 2 * maxRow
	reasonBytes  = 1000

	// reportRows bounds the rows of a Report.
	reportRows = 1000
)

func (c Config) withDefaults() Config {
	c.MaxRecords = cmp.Or(c.MaxRecords, defaultMaxRecords)
	c.RetryMin = cmp.Or(c.RetryMin, defaultRetryMin)
	c.RetryMax = cmp.Or(c.RetryMax, defaultRetryMax)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	c.Metrics = cmp.Or(c.Metrics, metrics.NewSet())
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}
