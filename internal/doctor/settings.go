package doctor

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/busdk/bus-api-provider-vm/internal/jwks"
)

func (c Config) settings(context.Context) (found []Check) {
	for _, warning := range c.Warnings {
		found = append(found, Check{"settings", Warning, warning, "change the setting, unless this is meant"})
	}
	return orOK(found, "settings", "right")
}

func (c Config) secrets(context.Context) (found []Check) {
	for _, warning := range c.SecretWarnings {
		found = append(found, Check{"jwt secret", Warning, warning,
			"put a new secret first in --jwt-secret-file, and remove this one when no token is signed with it any more"})
	}
	if c.Secrets == 0 {
		return ok("jwt secret", "none: tokens are verified with public keys alone")
	}
	return orOK(found, "jwt secret", fmt.Sprintf("%d, each long enough", c.Secrets))
}

// publicKeys fetches the JWKS the way the service does.
func (c Config) publicKeys(ctx context.Context) []Check {
	if c.JWKSURL == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	set, err := jwks.Fetch(ctx, c.JWKSURL)
	if err != nil {
		return []Check{{"public keys", Failed, "no keys from the JWKS: " + err.Error(),
			"open --jwks-url with curl from this machine; without keys the service is not ready"}}
	}
	var found []Check
	for _, key := range set.Skipped() {
		found = append(found, Check{"public keys", Warning, fmt.Sprintf("key %q is not used: %s", key.ID, key.Reason),
			"nothing, unless tokens are signed with it"})
	}
	return orOK(found, "public keys", fmt.Sprintf("%d in the JWKS", set.Len()))
}

// secretFiles looks at who else may read or replace them.
func (c Config) secretFiles(context.Context) (found []Check) {
	const others, writable = 0o007, 0o002
	looked := 0
	for _, path := range c.SecretFiles {
		if path == "" {
			continue
		}
		looked++
		info, err := os.Stat(path)
		switch {
		case err != nil:
			found = append(found, Check{"secret files", Failed, err.Error(), "make the file readable for this user"})
		case info.Mode().Perm()&writable != 0:
			found = append(found, Check{"secret files", Failed, fmt.Sprintf("every user of this machine may replace %s", path), "chmod o-rwx " + path})
		case info.Mode().Perm()&others != 0:
			found = append(found, Check{"secret files", Warning, fmt.Sprintf("every user of this machine may read %s", path), "chmod o-rwx " + path})
		}
	}
	if looked == 0 {
		return nil
	}
	return orOK(found, "secret files", "other users cannot read them")
}

// spareFiles is what the service opens beside connections of callers.
const spareFiles = 64

func (c Config) limits(context.Context) []Check {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return []Check{{"limits", Warning, "the limit of open files cannot be read: " + err.Error(), "look at ulimit -n"}}
	}
	if need := uint64(c.MaxConnections + spareFiles); uint64(files.Max) < need {
		return []Check{{"limits", Warning,
			fmt.Sprintf("%d files may be open, and server.max_connections is %d", files.Max, c.MaxConnections),
			fmt.Sprintf("set LimitNOFILE=%d in the unit, or lower server.max_connections", need)}}
	}
	return ok("limits", fmt.Sprintf("%d files may be open, for %d connections", files.Max, c.MaxConnections))
}
