package backend

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// showing is the document of state without details.
func showing(state string) string {
	return `{"status":{"state":"` + state + `","provider":"static","details":{}}}`
}

func shown(t *testing.T, b Backend) string {
	t.Helper()
	seen, err := b.See(t.Context())
	require.NoError(t, err)
	return string(seen.Document)
}

func apply(t *testing.T, b Backend, op lifecycle.Operation) {
	t.Helper()
	outcome, err := b.Apply(t.Context(), op)
	require.NoError(t, err)
	require.Equal(t, lifecycle.Accepted, outcome)
}

func TestStaticDocument(t *testing.T) {
	assert.Equal(t, showing("ready"), shown(t, NewStatic(StaticConfig{State: "ready"})))
	assert.Equal(t, showing("unavailable"), shown(t, NewStatic(StaticConfig{State: "unavailable"})))
	assert.Equal(t, showing(`de\"frosting<`), shown(t, NewStatic(StaticConfig{State: `de"frosting<`})))
}

// What each write does from each state, at once.
func TestStaticAtOnce(t *testing.T) {
	for _, state := range []string{"ready", "stopped", "unavailable", "starting", "stopping"} {
		for action, want := range map[lifecycle.Action]string{lifecycle.Start: "ready", lifecycle.Stop: "stopped"} {
			// The first state is at rest, whatever it is called, unless the
			// write asks for what it says is under way.
			if state == map[lifecycle.Action]string{lifecycle.Start: "starting", lifecycle.Stop: "stopping"}[action] {
				want = state
			}
			s := NewStatic(StaticConfig{State: state})
			for range 2 {
				apply(t, s, lifecycle.Operation{Action: action})
				assert.Equal(t, showing(want), shown(t, s), "%s from %s", action, state)
			}
		}
	}
}

// What is shown while writes follow each other: each step waits, writes if it
// says so, and shows.
func TestStaticTransitions(t *testing.T) {
	const long = 10 * time.Second
	type step struct {
		wait   time.Duration
		action lifecycle.Action
		want   string
	}
	for name, steps := range map[string][]step{
		"stop":                        {{0, lifecycle.Stop, "stopping"}, {long - 1, "", "stopping"}, {1, "", "stopped"}, {time.Hour, "", "stopped"}},
		"start of what is ready":      {{0, lifecycle.Start, "ready"}, {long, "", "ready"}},
		"stop and start":              {{0, lifecycle.Stop, "stopping"}, {long, "", "stopped"}, {0, lifecycle.Start, "starting"}, {long - 1, "", "starting"}, {1, "", "ready"}},
		"stop twice keeps the time":   {{0, lifecycle.Stop, "stopping"}, {long / 2, lifecycle.Stop, "stopping"}, {long/2 - 1, "", "stopping"}, {1, "", "stopped"}},
		"start overtakes stop":        {{0, lifecycle.Stop, "stopping"}, {long / 2, lifecycle.Start, "starting"}, {long / 2, "", "starting"}, {long / 2, "", "ready"}, {time.Hour, "", "ready"}},
		"stop overtakes start and so": {{0, lifecycle.Stop, "stopping"}, {long, lifecycle.Start, "starting"}, {1, lifecycle.Stop, "stopping"}, {1, lifecycle.Start, "starting"}, {long - 1, "", "starting"}, {1, "", "ready"}, {time.Hour, "", "ready"}},
		"overtaken at the last":       {{0, lifecycle.Stop, "stopping"}, {long - 1, lifecycle.Start, "starting"}, {1, "", "starting"}, {long - 1, "", "ready"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := NewStatic(StaticConfig{Transition: long})
				for i, step := range steps {
					<-time.After(step.wait)
					if step.action != "" {
						apply(t, s, lifecycle.Operation{Action: step.action})
					}
					assert.Equal(t, showing(step.want), shown(t, s), "step %d", i)
				}
			})
		})
	}
}

// Who follows learns of each state when it begins.
func TestStaticIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStatic(StaticConfig{Transition: time.Minute})
		defer s.Follow()()
		for _, action := range []lifecycle.Action{lifecycle.Stop, lifecycle.Start} {
			changed := s.Latest().Changed
			apply(t, s, lifecycle.Operation{Action: action})
			began := time.Now()
			for i, state := range []string{writes[action].through, action.Target()} {
				<-changed
				latest := s.Latest()
				changed = latest.Changed
				assert.Equal(t, state, latest.Seen.State)
				assert.Equal(t, i == 1, latest.Seen.Settled)
				assert.Equal(t, time.Duration(i)*time.Minute, time.Since(began))
			}
		}
	})
}
