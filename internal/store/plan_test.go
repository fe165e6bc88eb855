package store

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// What is done for each write or every second costs the same however many operations
// have ended.
func TestStatementsFindTheirRowsByAnIndex(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		leader, follower, keyed := joining(), joining(), aWrite(lifecycle.Start)
		keyed.Key = "key"
		insert(t, s, leader, Lead)
		insert(t, s, follower, Joined)
		insert(t, s, keyed, Joined)
		_, err := s.Reply(t.Context(), leader.ID, true, End{})
		require.NoError(t, err)
		for _, do := range []func(*tx) error{
			(*tx).setBack,
			func(t *tx) error { _, err := t.prune(); return err },
			func(t *tx) error { _, err := t.offer(); return err },
			func(t *tx) error { _, err := t.claim([]string{leader.Account}, 1); return err },
			func(t *tx) error { return t.retry(Operation{ID: leader.ID}, 0, "refused") },
			func(t *tx) error { _, err := t.acknowledge(leader.ID, 0, false); return err },
			func(t *tx) error { return t.reached(lifecycle.Start, "p", time.Second) },
			func(t *tx) error { _, _, err := t.decide(follower.ID); return err },
		} {
			require.NoError(t, s.do(t.Context(), call{}, do))
		}
		statements := []string{dueAccounts, figures}
		require.NoError(t, s.do(t.Context(), call{}, func(t *tx) error {
			for statement := range t.session.statements {
				if word, _, _ := strings.Cut(statement, " "); word == "select" || word == "update" || word == "delete" {
					statements = append(statements, statement)
				}
			}
			return nil
		}))
		require.Greater(t, len(statements), 15)
		for _, statement := range statements {
			if strings.Contains(statement, "select count(*) from operations)") || strings.Contains(statement, "store_schema") {
				continue // of a store in memory, whose rows are few; of one row
			}
			for _, step := range planOf(t, s, statement) {
				if strings.HasPrefix(step, "SCAN operations") || strings.HasPrefix(step, "SCAN keys") {
					assert.Contains(t, step, "INDEX", statement)
				}
				assert.NotContains(t, step, "TEMP B-TREE", statement)
				if strings.Contains(statement, "sent < records") && strings.HasPrefix(step, "S") && strings.Contains(step, "operations") {
					assert.Regexp(t, "operations_(due|parked|ended)|operations_1|autoindex", step, statement)
				}
			}
		}
	}, "SQLite")
}

// planOf is the query plan of SQLite for a statement.
func planOf(t *testing.T, s *Store, statement string) (steps []string) {
	t.Helper()
	args := slices.Repeat([]any{1}, 40) // those that a statement does not have are ignored
	rows, err := s.engine.read.QueryContext(t.Context(), "explain query plan "+statement, args...)
	require.NoError(t, err, statement)
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var step string
		require.NoError(t, rows.Scan(&id, &parent, &unused, &step))
		steps = append(steps, step)
	}
	return steps
}
