package address

import "testing"

func TestIsLoopback(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:1": true, "127.1.2.3:1": true, "[::1]:1": true, "localhost:1": true, "unix:/run/a": true,
		":1": false, "0.0.0.0:1": false, "[::]:1": false, "10.0.0.1:1": false, "localhost.example:1": false, "LOCALHOST.:1": false, "127.0.0.1": false, "": true,
	} {
		if got := IsLoopback(addr); got != want {
			t.Errorf("%q: %v", addr, got)
		}
	}
}

func TestGroupID(t *testing.T) {
	for _, group := range []string{"root", "0"} {
		if id, err := GroupID(group); id != 0 || err != nil {
			t.Errorf("%s: %d, %v", group, id, err)
		}
	}
	for _, group := range []string{"", "no-such-group", "-1", "1x", "4294967296"} {
		if id, err := GroupID(group); err == nil {
			t.Errorf("%q is the group %d", group, id)
		}
	}
}
