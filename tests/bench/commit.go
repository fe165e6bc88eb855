package main

import (
	"database/sql"
	"path/filepath"
	"slices"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver
)

// diskCommits is how many commits are timed.
const diskCommits = 200

// commits times one durable commit of one usage record, as the operations store
// makes it, on the disk that the servers' data lies on.
func commits(dir string) (sorted []time.Duration) {
	db := must(sql.Open("sqlite", "file:"+filepath.Join(dir, "commits.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"))
	defer db.Close()
	db.SetMaxOpenConns(1)
	must(db.Exec("create table records (id integer primary key, body text)"))
	record := strings.Repeat("x", 400)
	for range diskCommits {
		began := time.Now()
		must(db.Exec("insert into records (body) values ($1)", record))
		sorted = append(sorted, time.Since(began))
	}
	slices.Sort(sorted)
	return sorted
}
