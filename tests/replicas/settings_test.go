package replicas

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
	"github.com/busdk/bus-api-provider-vm/tests/postgres"
)

// endSessions ends those of the gateways.
func (r *rig) endSessions() {
	r.t.Helper()
	r.execute(`select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`)
}

// A database that is read-only for new sessions, and is not any more: gateways whose
// sessions began meanwhile find out by themselves, one that was started then as well.
func TestReadOnlyForAWhile(t *testing.T) {
	t.Parallel()
	r := newRig(t, postgres.Start(t), 1)
	r.gateways[2].kill()
	r.execute(`do 'begin execute format(''alter database %I set default_transaction_read_only = on'', current_database()); end'`)
	r.endSessions()
	r.gateways[2] = r.launch(2)
	for _, g := range r.gateways {
		harness.Eventually(t, "it listens", func() bool { return g.addr() != "" })
		c := r.write(g, start)
		assert.Equal(t, "not_sent", c.outcome(), c)
	}
	r.execute(`begin read write; do 'begin execute format(''alter database %I reset default_transaction_read_only'', current_database()); end'; commit`)
	for _, g := range r.gateways {
		g.awaitReady()
		c := r.write(g, start)
		assert.Equal(t, http.StatusAccepted, c.status, c)
	}
}

// A schema that comes before that of the store, since it has the name of the user, holds
// nothing of it: gateways that start then go on with the store that there is.
func TestSchemaInFront(t *testing.T) {
	t.Parallel()
	r := newRig(t, postgres.Start(t), 1)
	r.Usage.SetBehaviour(platform.Behaviour{Deaf: true})
	c := r.write(r.gateways[0], start)
	assert.Equal(t, http.StatusAccepted, c.status, c)
	r.execute(`create schema bus authorization bus`)
	for i, g := range r.gateways {
		g.kill()
		r.gateways[i] = r.launch(i)
		r.gateways[i].awaitReady()
	}
	r.awaitCount(0, `select count(*) from pg_tables where schemaname = 'bus'`)
	r.Usage.SetBehaviour()
	r.awaitCount(2, `select sum(sent) from operations`)
}

// A provider that PostgreSQL cannot hold keeps no start from being seen ready, and so
// others from starting.
func TestProviderWithNUL(t *testing.T) {
	t.Parallel()
	r := newRig(t, postgres.Start(t), 1)
	r.VM.SetBehaviour(platform.Behaviour{Names: []string{platform.StatusRequest}, Payload: []byte(`{"state":"ready","provider":"up\u0000cloud"}`)})
	c := r.waitFor(r.gateways[0], start, 10)
	assert.Equal(t, http.StatusOK, c.status, c)
	assert.Contains(t, c.body, `"provider":"upcloud"`)
	r.awaitCount(1, `select count(*) from operations where reached_at > 0 and provider = 'upcloud' and slot = 0`)
}
