package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

// diskCommits is how many commits are timed.
const diskCommits = 200

// commits times one durable commit of one usage record, as the outbox makes it,
// on the disk that the servers' data lies on.
func commits(dir string) (sorted []time.Duration) {
	db := must(bbolt.Open(filepath.Join(dir, "commits.db"), 0o600, nil))
	defer db.Close()
	record := make([]byte, 400)
	for i := range diskCommits {
		began := time.Now()
		check(db.Update(func(tx *bbolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists([]byte("records"))
			if err != nil {
				return err
			}
			return bucket.Put(fmt.Appendf(nil, "%06d", i), record)
		}))
		sorted = append(sorted, time.Since(began))
	}
	slices.Sort(sorted)
	return sorted
}
