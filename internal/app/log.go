package app

import (
	"io"
	"log/slog"

	"github.com/busdk/bus-api-provider-vm/internal/config"
)

// newLogger writes to w in the form and from the level that c asks for. The
// level can be changed while the logger is in use.
func newLogger(c *config.Config, w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := &slog.LevelVar{}
	level.Set(c.Log.Level)
	options := &slog.HandlerOptions{Level: level, AddSource: c.Log.Source}
	if c.Log.Format == config.LogJSON {
		return slog.New(slog.NewJSONHandler(w, options)), level
	}
	return slog.New(slog.NewTextHandler(w, options)), level
}
