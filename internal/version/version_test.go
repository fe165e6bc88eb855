package version

import (
	"runtime/debug"
	"testing"
)

func TestFromBuild(t *testing.T) {
	setting := func(key, value string) debug.BuildSetting { return debug.BuildSetting{Key: key, Value: value} }
	revision := setting("vcs.revision", "0123456789abcdef0123456789abcdef01234567")
	for want, info := range map[string]debug.BuildInfo{
		"v1.2.3":                   {Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{revision}},
		"devel":                    {Main: debug.Module{Version: "(devel)"}},
		"devel+0123456789ab":       {Settings: []debug.BuildSetting{revision, setting("vcs.modified", "false")}},
		"devel+0123456789ab-dirty": {Settings: []debug.BuildSetting{setting("vcs.modified", "true"), revision}},
	} {
		if got := fromBuild(&info); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestOverrideWins(t *testing.T) {
	defer func(before string) { override = before }(override)
	override = "1.2.3"
	if got := String(); got != "1.2.3" {
		t.Errorf("got %s", got)
	}
}
