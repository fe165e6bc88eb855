package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/store"
)

const (
	database = "database"
	// oldestPostgres is as PostgreSQL counts: 15.0.
	oldestPostgres = 150000
	// answerUnwise is an answer that callers would feel: a start waits for several.
	answerUnwise = 100 * time.Millisecond
)

// database asks the PostgreSQL that the store URL names, if there is one.
func (s Service) database(ctx context.Context, r *Report) {
	address, err := s.StoreURL()
	if err != nil || address.IsZero() {
		return // an error is among the settings
	}
	ctx, cancel := context.WithTimeout(ctx, networkTimeout)
	defer cancel()
	found, err := store.Ask(ctx, address.Reveal())
	switch {
	case errors.Is(err, store.ErrNewer):
		r.fail(database, err.Error(), "run the newer release")
		return
	case err != nil:
		r.fail(database, err.Error(), "make the PostgreSQL that store.url names answer this machine, its user and its database")
		return
	}
	judgeDatabase(r, found)
	r.ok(database, fmt.Sprintf("PostgreSQL %d answers in %s", found.Version/10000, found.Took.Round(10*time.Microsecond)))
}

// judgeDatabase examines what a server said.
func judgeDatabase(r *Report, found store.Survey) {
	switch {
	case found.Version < oldestPostgres:
		r.fail(database, fmt.Sprintf("PostgreSQL %d is too old", found.Version/10000), "use PostgreSQL 15 or later")
	case found.ReadOnly:
		r.fail(database, "it is a standby, or read-only", "let store.url name the primary (target_session_attrs=read-write, where it names several hosts)")
	case !found.MayCreate:
		r.fail(database, "the user may not make the tables of the store", "make it the owner of the database")
	case found.SynchronousCommit == "off":
		r.fail(database, "synchronous_commit is off: what was confirmed may be lost", "turn synchronous_commit on for this user or database")
	case found.Standbys == "":
		r.warn(database, "it has no synchronous standby: a failover may lose operations that were confirmed", "set synchronous_standby_names, if there is a standby")
	case found.Took > answerUnwise:
		r.warn(database, fmt.Sprintf("an answer takes %s, and a start or stop waits for several", found.Took.Round(time.Millisecond)), "bring the database nearer")
	}
}
