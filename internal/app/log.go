package app

import (
	"io"
	"log/slog"

	"github.com/busdk/bus-api-provider-vm/internal/config"
)

// newLogger writes to w in the format and from the level that c asks for.
func newLogger(c config.LogConfig, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == config.LogJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
