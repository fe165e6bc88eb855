package store

import (
	"context"
	"database/sql"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
	"github.com/busdk/bus-api-provider-vm/tests/postgres"
)

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// A backup that the tools of the database take while the store is written is a
// store: it goes on delivering what it holds. What the other one has delivered
// since is delivered again, by the same event ids with the same content.
func TestBackup(t *testing.T) {
	t.Parallel()
	for name, engine := range map[string]func(t *testing.T, config *Config) (backUp func() (restored Config)){
		"SQLite": func(t *testing.T, config *Config) func() Config {
			config.Dir = t.TempDir()
			return func() Config {
				restored := *config
				restored.Dir = t.TempDir()
				db, err := sql.Open("sqlite", "file:"+filepath.Join(config.Dir, fileName)+"?mode=ro")
				require.NoError(t, err)
				_, err = db.Exec("vacuum into '" + filepath.Join(restored.Dir, fileName) + "'")
				require.NoError(t, err)
				require.NoError(t, db.Close())
				return restored
			}
		},
		"PostgreSQL": func(t *testing.T, config *Config) func() Config {
			server := postgres.Start(t)
			config.URL = server.Database()
			return func() Config {
				restored, file := *config, filepath.Join(t.TempDir(), "dump")
				restored.URL = server.Database()
				command(t, "pg_dump", "--no-owner", "-f", file, config.URL)
				command(t, "psql", "-q", "-v", "ON_ERROR_STOP=1", "-f", file, restored.URL)
				return restored
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, _ := configFor()
			config.Timeout = time.Second // so that what was on its way when the backup was taken is due soon
			backUp := engine(t, &config)
			var here atomic.Bool
			s, first := running(t, config), &receiver{answer: func(context.Context, sending) error {
				if !here.Load() {
					return errBusy
				}
				return nil
			}}
			delivering(t, s, first)
			write := func() lifecycle.Write {
				w := aWrite(lifecycle.Stop)
				insert(t, s, w, lifecycle.Lead)
				_, err := s.Reply(t.Context(), w.ID, true, End{})
				require.NoError(t, err)
				return w
			}
			var held []lifecycle.Write
			for range 20 {
				held = append(held, write())
			}
			open := aWrite(lifecycle.Stop)
			insert(t, s, open, lifecycle.Lead)
			enough := make(chan struct{})
			var traffic sync.WaitGroup
			traffic.Go(func() {
				for {
					select {
					case <-enough:
						return
					default:
						_, _, err := s.insert(t.Context(), aWrite(lifecycle.Stop))
						assert.NoError(t, err)
					}
				}
			})
			restored := backUp()
			close(enough)
			traffic.Wait()
			require.NoError(t, s.Healthy())
			here.Store(true)
			has := func(r *receiver, what string, ids ...string) {
				t.Helper()
				eventually(t, func() bool {
					byID, _ := r.bodies()
					return !slices.ContainsFunc(ids, func(id string) bool { return byID[id] == "" })
				}, what)
			}
			ids := []string{usage.EventID(open.ID, usage.PhaseRequested)}
			for _, w := range held {
				ids = append(ids, usage.EventID(w.ID, usage.PhaseEnded))
			}
			has(first, "the store that was backed up delivers", ids...)

			restored.Metrics = metrics.NewSet()
			r, second := running(t, restored), &receiver{answer: func(context.Context, sending) error { return nil }}
			delivering(t, r, second)
			has(second, "the backup delivers", ids...)
			_, err := r.Reply(t.Context(), open.ID, true, End{})
			require.NoError(t, err)
			insert(t, r, aWrite(lifecycle.Stop), lifecycle.Lead)
			has(second, "what was open at the time of the backup ends", usage.EventID(open.ID, usage.PhaseEnded))
			before, _ := first.bodies()
			after, order := second.bodies()
			for _, w := range held {
				requested, ended := usage.EventID(w.ID, usage.PhaseRequested), usage.EventID(w.ID, usage.PhaseEnded)
				assert.Equal(t, before[requested], after[requested])
				assert.Equal(t, before[ended], after[ended])
				assert.Less(t, strings.Index(order, requested), strings.Index(order, ended))
			}
		})
	}
}
