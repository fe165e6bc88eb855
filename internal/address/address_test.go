package address

import "testing"

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		one, other string
		want       bool
	}{
		{"127.0.0.1:8085", "127.0.0.1:8085", true},
		{"127.0.0.1:8085", "127.0.0.1:08085", true},
		{"127.0.0.1:8085", "localhost:8085", true},
		{"127.0.0.1:8085", ":8085", true},
		{"0.0.0.0:8085", "10.0.0.7:8085", true},
		{"[::]:8085", "127.0.0.1:8085", true},
		{"[::1]:8085", "[0:0:0:0:0:0:0:1]:8085", true},
		{"Host:1", "host:1", true},
		{"unix:/run/a", "unix:/run/a", true},
		{"unix:/run/a", "unix:/run/x/../a", true},
		{"127.0.0.1:8085", "127.0.0.1:9085", false},
		{"127.0.0.1:8085", "127.0.0.2:8085", false},
		{"127.0.0.1:8085", "[::1]:8085", false},
		{"127.0.0.1:0", "127.0.0.1:0", false},
		{"unix:/run/a", "unix:/run/b", false},
		{"unix:/run/a", "127.0.0.1:8085", false},
		{"127.0.0.1:8085", "", false},
		{"LOCALHOST:8085", "127.0.0.1:8085", true},
		{"", "", false},
	} {
		for _, pair := range [][2]string{{c.one, c.other}, {c.other, c.one}} {
			if got := Overlap(pair[0], pair[1]); got != c.want {
				t.Errorf("%q: %v", pair, got)
			}
		}
	}
}

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
