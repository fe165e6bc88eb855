package store

import (
	"context"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/tests/postgres"
)

// A store that failed and has nothing to write finds out by itself that it can
// again, and reads the replies that it may have missed.
func TestStoreHealsWithoutCalls(t *testing.T) {
	t.Parallel()
	config, _ := configFor()
	server := postgres.Start(t)
	config.URL = server.Database()
	read := make(chan struct{}, 1)
	config.History = func(context.Context) error { wake(read); return nil }
	s := running(t, config)
	insert(t, s, aWrite(lifecycle.Start), lifecycle.Lead)
	server.Kill()
	_, _, err := s.insert(t.Context(), aWrite(lifecycle.Start)) // and no Abandon: nothing is kept
	require.ErrorIs(t, err, ErrUnavailable)
	_, _, err = s.insert(t.Context(), aWrite(lifecycle.Start))
	require.ErrorIs(t, err, ErrUnavailable)
	assert.NotErrorIs(t, err, lifecycle.ErrUnconfirmed, "nothing was sent to a database that is known to be away")
	server.Run()
	awaitHealthy(t, s)
	eventually(t, func() bool { return len(read) > 0 }, "the history is read")
	insert(t, s, aWrite(lifecycle.Start), lifecycle.Lead)
}

// A gateway that starts while the database is away serves, and sets it up later.
func TestOpenWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	config, l := configFor()
	server := postgres.Start(t)
	config.URL = server.Database()
	server.Kill()
	s := running(t, config)
	_, _, err := s.insert(t.Context(), aWrite(lifecycle.Start))
	require.ErrorIs(t, err, ErrUnavailable)
	assert.Contains(t, l.String(), "the database of operations cannot be used")
	server.Run()
	eventually(t, func() bool { return tryInsert(t, s) == nil }, "writes are taken")
}

// A host that is silent, as one without power is, keeps no gateway from the next one.
func TestSilentHostInFront(t *testing.T) {
	t.Parallel()
	config, l := configFor()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	config.URL = strings.Replace(postgres.Database(t), "@", "@"+silent.Addr().String()+",", 1) + "&target_session_attrs=read-write"
	s := running(t, config)
	require.NoError(t, tryInsert(t, s))
	_, err = s.Latest(t.Context(), 1)
	assert.NoError(t, err)
	assert.Empty(t, l.String())
}

// While the synchronous standby is away no replica says that it takes writes, although the
// locks of one, whose commit waits, are all that another finds.
func TestStandbyIsAway(t *testing.T) {
	t.Parallel()
	config, l := configFor()
	primary := postgres.Start(t)
	config.URL = primary.Database()
	standby := primary.Standby()
	s := running(t, config)
	config.Metrics = metrics.NewSet()
	other := running(t, config)
	w := aWrite(lifecycle.Stop)
	insert(t, s, w, lifecycle.Lead)
	standby.Freeze()
	s.Settle(w.ID, nil, nil)
	other.Settle(w.ID, nil, nil)
	eventually(t, func() bool { return min(s.counts.failures.Get(), other.counts.failures.Get()) >= 3 }, "each has tried")
	assert.NotContains(t, l.String(), "takes writes again")
	standby.Thaw()
	awaitHealthy(t, s)
	awaitHealthy(t, other)
	awaitOutcome(t, s, w.ID, lifecycle.Accepted)
}

// A server that refuses everything, in whatever words, is told of as long as it does,
// and what is kept is written after that.
func TestRefusingDatabase(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		elsewhere  bool // said in another database of the server
		harm, mend []string
	}{
		"a table is missing": {false,
			[]string{`alter table operations rename to gone`}, []string{`alter table gone rename to operations`}},
		"a column is missing": {false,
			[]string{`alter table operations rename column sent to gone`}, []string{`alter table operations rename column gone to sent`}},
		"no logins": {true,
			[]string{`alter database %s with allow_connections false`,
				`select pg_terminate_backend(pid) from pg_stat_activity where datname = '%s'`},
			[]string{`alter database %s with allow_connections true`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, l := configFor()
			config.URL = postgres.Database(t)
			s := running(t, config)
			w := aWrite(lifecycle.Stop)
			insert(t, s, w, lifecycle.Lead)
			at, err := url.Parse(config.URL)
			require.NoError(t, err)
			database := at.Path[1:]
			if c.elsewhere {
				at.Path = "/postgres"
			}
			db := connect(t, Config{URL: at.String()})
			for _, statement := range c.harm {
				execute(t, db, strings.ReplaceAll(statement, "%s", database))
			}
			for range 2 {
				assert.Error(t, tryInsert(t, s))
			}
			s.Settle(w.ID, nil, nil)
			tried := s.counts.failures.Get() + 3
			eventually(t, func() bool {
				assert.Error(t, s.Healthy())
				return s.counts.failures.Get() >= tried
			}, "it is tried again")
			assert.Equal(t, name == "a table is missing", strings.Contains(l.String(), "restart the service: it then begins a new store"), l)
			for _, statement := range c.mend {
				execute(t, db, strings.ReplaceAll(statement, "%s", database))
			}
			awaitOutcome(t, s, w.ID, lifecycle.Accepted)
		})
	}
}

// What an administrator has set for new sessions changes no promise: who waited for a lock
// goes on at once, and a commit with a warning is not confirmed.
func TestDefaultsOfTheDatabase(t *testing.T) {
	t.Parallel()
	set := func(setting string) string {
		return `do 'begin execute format(''alter database %I set ` + setting + `'', current_database()); end'`
	}
	t.Run("isolation", func(t *testing.T) {
		t.Parallel()
		s, db := withPostgres(t, set("default_transaction_isolation = serializable"))
		w := aWrite(lifecycle.Stop)
		insert(t, s, w, lifecycle.Lead)
		other := holding(t, db, `update operations set reason = 'seen' where id = $1`, w.ID)
		ended := make(chan error, 1)
		go func() { _, err := s.Reply(context.Background(), w.ID, true, End{}); ended <- err }()
		awaitLock(t, db)
		failed := s.counts.failures.Get()
		require.NoError(t, other.Commit())
		require.NoError(t, <-ended)
		assert.Equal(t, failed, s.counts.failures.Get())
	})
	t.Run("messages", func(t *testing.T) {
		t.Parallel()
		s, _ := withPostgres(t, set("client_min_messages = error"),
			`create function warn() returns trigger language plpgsql as 'begin raise warning ''the standby is gone''; return null; end'`,
			`create constraint trigger warn after insert on operations deferrable initially deferred for each row execute function warn()`)
		_, _, err := s.insert(t.Context(), aWrite(lifecycle.Start))
		assert.ErrorContains(t, err, "confirmed a commit with a warning")
	})
}

// A read on a session that the server has just ended is made on another one.
func TestReadOnAnEndedSession(t *testing.T) {
	t.Parallel()
	s, db := withPostgres(t)
	var group sync.WaitGroup
	for range 5 {
		for range 3 {
			group.Go(func() { _, err := s.Latest(context.Background(), 1); assert.NoError(t, err) })
		}
		group.Wait()
		execute(t, db, `select pg_terminate_backend(pid, 10000) from pg_stat_activity
			where pid <> pg_backend_pid() and backend_type = 'client backend' and datname = current_database()`)
		_, err := s.Latest(t.Context(), 1)
		assert.NoError(t, err)
	}
}

// A user with no more than the rights to the rows can use the tables of another.
func TestTablesOfAnotherUser(t *testing.T) {
	t.Parallel()
	s, db := withPostgres(t, `do 'begin if not exists (select from pg_roles where rolname = ''guest'') then create role guest login; end if; end'`,
		`grant select, insert, update, delete on operations, keys, store_schema to guest`)
	insert(t, s, aWrite(lifecycle.Stop), lifecycle.Lead)
	execute(t, db, `revoke create on schema public from public`)
	config, l := configFor()
	config.URL = strings.Replace(s.config.URL, "bus@", "guest@", 1)
	insert(t, running(t, config), aWrite(lifecycle.Stop), lifecycle.Lead)
	assert.Empty(t, l.String())
}
