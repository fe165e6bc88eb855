package app

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/reload"
	"github.com/busdk/bus-api-provider-vm/internal/secret"
	"github.com/busdk/bus-api-provider-vm/internal/systemd"
)

// changes puts in force what may change while the service runs. Each thing
// keeps its last good state by itself: a slip in the YAML file does not keep a
// stolen secret valid. The reloader alone uses it.
type changes struct {
	*app
	settings *config.Config // the last good ones
	token    secret.String  // of the provider, as last inspected
}

// follow adds the part that follows changed files and SIGHUP. It comes before
// everything that reads those files, so that no change is missed.
func (a *app) follow(hangup <-chan os.Signal) {
	c := &changes{app: a, settings: a.config}
	c.token, _ = c.readTokenFile() // connecting inspects it, and tells what is wrong
	a.add(reload.New(reload.Config{
		Files:   c.files,
		Apply:   c.apply,
		Signals: hangup,
		Logger:  a.logger,
		Metrics: a.metrics,
	}).Run)
}

// files are the files whose content is followed.
func (c *changes) files() []string {
	return []string{c.settings.File, c.settings.JWT.SecretFile, c.config.JWT.JWKSFile, c.config.Events.TokenFile}
}

// apply reads everything again. Checking the settings includes the files of
// secrets and keys, so its error says what those of the others would; a bad
// token of the provider is told once the settings are right.
func (c *changes) apply() error {
	systemd.Reloading()
	defer systemd.Ready()
	next, err := c.settings.Reload()
	if err == nil {
		c.adopt(next)
	}
	if c.remoteKeys != nil {
		c.remoteKeys.Refresh()
	}
	return cmp.Or(err, errors.Join(c.rollSecrets(), c.loadPublicKeys(), c.checkProviderToken()))
}

// adopt takes over the settings that are followed, and names the others.
func (c *changes) adopt(next *config.Config) {
	c.level.Set(next.Log.Level)
	if keys := c.config.NeedRestart(next); len(keys) > 0 {
		c.logger.Warn("changed settings wait for a restart", "settings", keys, "do", "restart the service to put them in force")
	}
	for _, warning := range next.Warnings {
		if !slices.Contains(c.settings.Warnings, warning) {
			c.logger.Warn(warning)
		}
	}
	c.settings = next
}

// rollSecrets replaces the secrets if they are others than before: replacing
// them forgets every verified token.
func (c *changes) rollSecrets() error {
	secrets, err := c.settings.JWTSecrets()
	if err != nil || slices.EqualFunc(secrets, c.secrets, bytes.Equal) {
		return err
	}
	if err := c.auth.SetSecrets(secrets); err != nil {
		return err
	}
	c.secrets = secrets
	c.logger.Info("JWT secrets in force", "secrets", len(secrets))
	return nil
}

// checkProviderToken looks at the file of the provider's token, which its user
// in internal/events follows by itself, so that it counts as a bad reload too.
// Another token than before is inspected as at start.
func (c *changes) checkProviderToken() error {
	token, err := c.readTokenFile()
	if err != nil || token == c.token {
		return err
	}
	c.token = token
	c.inspect(token, nil)
	return nil
}

// readTokenFile reads the provider's token again; zero without a file that is
// needed.
func (c *changes) readTokenFile() (secret.String, error) {
	if c.config.Events.TokenFile == "" || !c.config.NeedsEvents() {
		return secret.String{}, nil
	}
	return events.FileToken(c.config.Events.TokenFile, slog.New(slog.DiscardHandler)).Token()
}

// until ends a service with --dev whose terminal is gone.
func until(hangup <-chan os.Signal) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-hangup:
		case <-ctx.Done():
		}
		return nil
	}
}

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
