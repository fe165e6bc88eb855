// Package version says which build this is.
package version

import (
	"cmp"
	"runtime/debug"
	"strings"
)

// override is set by release builds:
// -ldflags "-X github.com/busdk/bus-api-provider-vm/internal/version.override=1.2.3".
var override string

// String is the version of this build: what the release build set, else the
// version of the module, which names the commit where the build recorded one,
// else devel.
func String() string {
	recorded := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		recorded = strings.Trim(info.Main.Version, "()") // (devel) without a record
	}
	return cmp.Or(override, recorded, "devel")
}
