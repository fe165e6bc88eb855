package doctor

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
	"github.com/busdk/bus-api-provider-vm/internal/store"
	"github.com/busdk/bus-api-provider-vm/tests/postgres"
)

func TestDatabase(t *testing.T) {
	examine := func(url string) (r Report) {
		s := service()
		s.Store.URL = secret.New(url)
		s.database(t.Context(), &r)
		return r
	}
	assert.Empty(t, examine("").Checks)
	url := postgres.Start(t).Database()
	r := examine(url)
	require.Len(t, r.Checks, 1)
	assert.Equal(t, Warning, r.Checks[0].Status)
	assert.Contains(t, r.Checks[0].Detail, "no synchronous standby")
	r = examine("postgres://bus:hidden@127.0.0.1:1/bus")
	require.Len(t, r.Checks, 1)
	assert.Equal(t, Failed, r.Checks[0].Status)
	assert.NotContains(t, r.Checks[0].Detail, "hidden")
}

func TestJudgeDatabase(t *testing.T) {
	good := store.Survey{Version: 150003, SynchronousCommit: "on", Standbys: "*", MayCreate: true}
	for name, c := range map[string]struct {
		change func(*store.Survey)
		want   Status // OK: nothing is found
	}{
		"good":                   {func(*store.Survey) {}, OK},
		"old":                    {func(s *store.Survey) { s.Version = 140010 }, Failed},
		"a standby":              {func(s *store.Survey) { s.ReadOnly = true }, Failed},
		"without rights":         {func(s *store.Survey) { s.MayCreate = false }, Failed},
		"commits are not synced": {func(s *store.Survey) { s.SynchronousCommit = "off" }, Failed},
		"alone":                  {func(s *store.Survey) { s.Standbys = "" }, Warning},
	} {
		var r Report
		found := good
		c.change(&found)
		judgeDatabase(&r, found)
		var have Status
		if len(r.Checks) > 0 {
			have = r.Checks[0].Status
		}
		assert.Equal(t, c.want, have, name)
	}
}
