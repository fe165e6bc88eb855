package version

import "testing"

func TestOverrideWins(t *testing.T) {
	if got := String(); got != "devel" { // tests are built without a record of the commit
		t.Errorf("got %s", got)
	}
	defer func(before string) { override = before }(override)
	override = "1.2.3"
	if got := String(); got != "1.2.3" {
		t.Errorf("got %s", got)
	}
}
