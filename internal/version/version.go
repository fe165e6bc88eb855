// Package version says which build this is.
package version

import (
	"runtime"
	"runtime/debug"
)

// override is set by release builds:
// -ldflags "-X github.com/busdk/bus-api-provider-vm/internal/version.override=1.2.3".
var override string

// revisionDigits is how much of a commit id identifies it.
const revisionDigits = 12

// String is the version of this build: what the release build set, else the
// module version, else devel with the commit where the build recorded one.
func String() string {
	if override != "" {
		return override
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	return fromBuild(info)
}

func fromBuild(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	version, dirty := "devel", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= revisionDigits:
			version += "+" + s.Value[:revisionDigits]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	return version + dirty
}

// Platform is the Go release and the platform that this build is for.
func Platform() string { return runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH }
