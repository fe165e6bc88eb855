package faults

import (
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"

	"github.com/stretchr/testify/require"

	_ "modernc.org/sqlite" // the driver of the store
)

// storeFile is the database of a gateway.
func (g *gateway) storeFile() string { return filepath.Join(g.data, "operations.db") }

// rows counts rows of its store, as another process sees them.
func (g *gateway) rows(of string) (n int, err error) {
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: g.storeFile()}).EscapedPath()+"?mode=ro&_pragma=busy_timeout(1000)")
	if err != nil {
		return 0, err
	}
	defer db.Close()
	err = db.QueryRow("select coalesce(sum(n), 0) from " + of).Scan(&n)
	return n, err
}

// What may be left in a store.
const (
	openOperations     = "(select 1 as n from operations where outcome = '')"
	undeliveredRecords = "(select records - sent as n from operations)"
	parkedRecords      = "(select 1 as n from operations where parked <> '')"
)

// awaitRows waits until its store has so many.
func (g *gateway) awaitRows(of string, want int) {
	g.t.Helper()
	var last string
	require.True(g.t, eventually(func() bool {
		n, err := g.rows(of)
		last = fmt.Sprint(n, err)
		return err == nil && n == want
	}), "%s: %s, want %d:\n%s", of, last, want, g.log)
}

// awaitDelivered waits until every record is acknowledged, and awaitSettled until
// every operation has ended as well.
func (g *gateway) awaitDelivered() { g.t.Helper(); g.awaitRows(undeliveredRecords, 0) }

func (g *gateway) awaitSettled() {
	g.t.Helper()
	g.awaitRows(openOperations, 0)
	g.awaitDelivered()
}
