package backend

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/internal/apierror"
	"github.com/busdk/bus-api-provider-vm/internal/events"
)

// Only this gateway's own word that nothing was sent keeps a snapshot; the
// type of an integration's error may be the same word.
func TestMayHaveActed(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"accepted", nil, true},
		{"not connected", events.ErrNotConnected, false},
		{"not sent", events.ErrNotSent, false},
		{"refused", events.ErrRefused, false},
		{"no reply", events.ErrNoReply, true},
		{"nonsense", events.ErrMalformed, true},
		{"the worker's error", &events.RemoteError{Type: "no_capacity"}, true},
		{"the worker's error in words of this gateway", &events.RemoteError{Type: string(apierror.Unavailable)}, true},
		{"any error", errors.New("canary"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.err
			if err != nil {
				err = events.Failure(err, asked)
			}
			assert.Equal(t, c.want, mayHaveActed(err))
		})
	}
}
