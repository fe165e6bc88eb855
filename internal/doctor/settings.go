package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/jwks"
)

func (s Service) settings(_ context.Context, r *Report) {
	for _, warning := range s.Warnings {
		detail, do := advice(warning, "change the setting, unless this is meant")
		r.warn("settings", detail, do)
	}
	if s.Backend == config.Static && filepath.Dir(s.File) == config.PackageDir {
		r.warn("settings", "backend static answers by itself: no machine is started or stopped",
			"set backend: events in "+s.File+", with what its comment lists, unless this is a first look")
	}
	r.ok("settings", "right")
	if s.Found != "" {
		r.add(Check{"settings", OK, "found " + s.Found, ""})
	}
}

// publicKeys fetches the JWKS the way the service does.
func (s Service) publicKeys(ctx context.Context, r *Report) {
	const name = "public keys"
	if s.JWT.JWKSURL == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, networkTimeout)
	defer cancel()
	set, err := jwks.Fetch(ctx, jwks.Client, s.JWT.JWKSURL)
	if err != nil {
		r.fail(name, "no keys from the JWKS: "+err.Error(),
			"open --jwks-url with curl from this machine; without keys the service is not ready")
		return
	}
	for _, key := range set.Skipped {
		r.warn(name, fmt.Sprintf("key %q is not used: %s", key.ID, key.Reason), "nothing, unless tokens are signed with it")
	}
	r.ok(name, fmt.Sprintf("%d in the JWKS", set.Len()))
}

// secretFiles examines who else may read or replace them.
func (s Service) secretFiles(_ context.Context, r *Report) {
	const name, others, writable = "secret files", 0o007, 0o002
	files := []string{s.JWT.SecretFile, s.Store.URLFile}
	if s.FileHoldsSecrets() {
		files = append(files, s.File)
	}
	if s.Token != nil { // otherwise the platform may name a token file that nothing uses
		files = append(files, s.Events.TokenFile)
	}
	for _, path := range append(files, s.JWT.JWKSFile) {
		info, err := os.Stat(path)
		switch {
		case err != nil: // not given, or gone, which is told elsewhere
		case info.Mode().Perm()&writable != 0:
			r.fail(name, fmt.Sprintf("every user of this machine may replace %s", path), "chmod o-rwx "+path)
		case info.Mode().Perm()&others != 0 && path != s.JWT.JWKSFile: // which is public
			r.warn(name, fmt.Sprintf("every user of this machine may read %s", path), "chmod o-rwx "+path)
		}
	}
	r.ok(name, "none that other users can read")
}
