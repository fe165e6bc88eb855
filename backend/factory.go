package backend

import "fmt"

// The modes of New.
const (
	ModeStatic = "static"
	ModeEvents = "events"
)

// Config configures New; only the part of the chosen mode counts.
type Config struct {
	Static StaticConfig
	Events EventsConfig
}

// New returns the backend of mode.
func New(mode string, config Config) (Backend, error) {
	switch mode {
	case ModeStatic:
		return NewStatic(config.Static)
	case ModeEvents:
		return NewEvents(config.Events), nil
	}
	return nil, fmt.Errorf("unknown backend mode %q", mode)
}
