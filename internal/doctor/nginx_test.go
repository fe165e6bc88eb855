package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lookAt writes a configuration and has it looked at with the default settings.
func lookAt(t *testing.T, addr, text string) []Check {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nginx.conf")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return Config{Addr: addr, Nginx: &Nginx{Path: path, HeaderBytes: 16 << 10, IdleTimeout: 75 * time.Second, WriteLimit: 60 * time.Second}}.nginx(background())
}

const tcp = "127.0.0.1:8085"

// The configuration that ships fits the settings that ship.
func TestShippedNginxFits(t *testing.T) {
	text, err := os.ReadFile("../../deploy/nginx/bus-vm.conf")
	require.NoError(t, err)
	fits := found{OK, "fits: location /api/v1/vm/, location = /readyz", ""}
	requireChecks(t, "TCP", "nginx", lookAt(t, tcp, string(text)), fits)
	socket := strings.ReplaceAll(string(text), "server 127.0.0.1:8085 max_fails=0;", "server unix:/run/bus-vm/vm.sock max_fails=0;")
	requireChecks(t, "unix socket", "nginx", lookAt(t, "unix:/run/bus-vm/vm.sock", socket), fits)
	requireChecks(t, "another port", "nginx", lookAt(t, "127.0.0.1:9999", string(text)), found{Failed, "no location passes requests to 127.0.0.1:9999", "include deploy/nginx/bus-vm.conf.*"})
	for from, want := range map[string]found{
		"large_client_header_buffers 4 16k;":                       {Warning, "large_client_header_buffers 4 8k refuses headers .*16384.*", "set large_client_header_buffers 4 16k;.*"},
		"proxy_read_timeout 75s;":                                  {Failed, "location .*: proxy_read_timeout 60s is not above 1m0s.*", "set proxy_read_timeout 75s;"},
		"keepalive_timeout 60s;      # below":                      {OK, "fits.*", ""}, // 60s is nginx's default
		"proxy_next_upstream error timeout;\n    proxy_next_upstr": {OK, "fits.*", ""},
	} {
		require.Contains(t, string(text), from)
		without := strings.Replace(string(text), from, "# ", 1)
		got := lookAt(t, tcp, without)
		requireChecks(t, from, "nginx", got[:1], want)
	}
}

func TestNginx(t *testing.T) {
	const good = "large_client_header_buffers 4 16k; proxy_read_timeout 90s;"
	api := func(more, location string) string {
		return "http { " + more + " server { location /api/v1/vm/ { " + location + " proxy_pass http://" + tcp + "; } } }"
	}
	fits := found{OK, "fits: location /api/v1/vm/", ""}
	tooShort := func(value string) found {
		return found{Failed, "location /api/v1/vm/: proxy_read_timeout " + value + " is not above 1m0s, .*", "set proxy_read_timeout 75s;"}
	}
	buffers := func(value string) found {
		return found{Warning, "large_client_header_buffers " + value + " refuses headers.*", "set large.*"}
	}
	twice := found{Failed, "location /api/v1/vm/: proxy_next_upstream … non_idempotent .*", "remove non_idempotent"}
	upstream := func(settings string) string {
		return "http { " + good + " upstream vm { server localhost:8085; " + settings + " } server { location /api/v1/vm/ { proxy_pass http://vm; } } }"
	}
	rests := func(value string) found {
		return found{Warning, "upstream vm: keepalive_timeout " + value + ` is not below server.idle_timeout \(1m15s\).*`, "set keepalive_timeout 60s;.*"}
	}
	for _, c := range []struct {
		about, text string
		want        []found
	}{
		{"all right", api(good, ""), []found{fits}},
		{"nothing set", api("", ""), []found{buffers("4 8k"), tooShort("60s")}},
		{"inherited from http", api(good, "proxy_connect_timeout 1s;"), []found{fits}},
		{"the innermost counts", api(good, "proxy_read_timeout 5s;"), []found{tooShort("5s")}},
		{"as long as the provider", api(good, "proxy_read_timeout 1m;"), []found{tooShort("1m")}},
		{"just above", api(good, "proxy_read_timeout 61;"), []found{fits}},
		{"small buffers", api(good+" large_client_header_buffers 8 4k;", ""), []found{buffers("8 4k")}},
		{"a start sent twice", api(good, "proxy_next_upstream error non_idempotent;"), []found{twice}},
		{"a start sent twice, said above", api(good+" proxy_next_upstream error timeout non_idempotent http_502;", ""), []found{twice}},
		{"keepalive", upstream("keepalive 8; keepalive_timeout 60s;"), []found{fits}},
		{"keepalive by default", upstream("keepalive 8;"), []found{fits}},
		{"keepalive too long", upstream("keepalive 8; keepalive_timeout 2m;"), []found{rests("2m")}},
		{"keepalive as long", upstream("keepalive 8; keepalive_timeout 75;"), []found{rests("75")}},
		{"no keepalive", upstream("keepalive_timeout 5m;"), []found{fits}},
		{"empty", "", []found{{Failed, "no location passes requests to " + tcp, "include.*"}}},
		{"another service", "http { server { location / { proxy_pass http://127.0.0.1:80; } } }", []found{{Failed, "no location.*", ".*"}}},
		{"no port is 80", "http { server { location / { proxy_pass http://example.com/; } } }", []found{{Failed, "no location.*", ".*"}}},
		{"two places, one said twice", "http { large_client_header_buffers 4 16k; server { location /a { proxy_pass http://" + tcp + "/; } location = /b { proxy_pass http://" + tcp + "; proxy_read_timeout 2m; } } }",
			[]found{{Failed, "location /a: .*", ".*"}}},
		{"through a variable", "http { " + good + " map $m $up { default w; GET r; } upstream w { server 10.0.0.1:1; } upstream r { server 127.0.0.1:8085; } server { location / { proxy_pass http://${up}; } } }",
			[]found{{OK, "fits: location /", ""}}},
		{"within if", "http { " + good + " server { location / { if ($x) { proxy_pass http://" + tcp + "; } } } }", []found{{OK, "fits: location /", ""}}},
		{"a snippet alone", "server { " + good + " location /x { proxy_pass http://" + tcp + "; } }", []found{{OK, "fits: location /x", ""}}},
		{"what nginx -T prints", "# configuration file /etc/nginx/nginx.conf:\nhttp { " + good + " include /etc/nginx/conf.d/*.conf; }\n\n# configuration file /etc/nginx/conf.d/a.conf:\nserver { location /x { proxy_pass http://" + tcp + "; } }\n",
			[]found{{OK, "fits: location /x", ""}}},
	} {
		requireChecks(t, c.about, "nginx", lookAt(t, tcp, c.text), c.want...)
	}
	requireChecks(t, "unix in proxy_pass", "nginx", lookAt(t, "unix:/run/vm.sock", "http { "+good+" server { location / { proxy_pass http://unix:/run/vm.sock:/; } } }"), found{OK, "fits: location /", ""})
	requireChecks(t, "another socket", "nginx", lookAt(t, "unix:/run/other.sock", "http { "+good+" server { location / { proxy_pass http://unix:/run/vm.sock:/; } } }"), found{Failed, "no location.*", ".*"})
	requireChecks(t, "no file", "nginx", Config{Nginx: &Nginx{Path: "/nonexistent/nginx.conf"}}.nginx(background()), found{Failed, ".*no such file.*", "give --nginx-conf.*"})
	requireChecks(t, "not given", "nginx", Config{}.nginx(background()))
}

// A configuration file is read with what it includes, however they include each
// other.
func TestNginxIncludes(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	write("nginx.conf", "http { large_client_header_buffers 4 16k; proxy_read_timeout 90s; include conf.d/*.conf; include mime.types; include nginx.conf; }")
	write("conf.d/a.conf", "server { include "+dir+"/proxy.inc; }")
	write("proxy.inc", "location /x { proxy_pass http://"+tcp+"; }")
	got := Config{Addr: tcp, Nginx: &Nginx{Path: filepath.Join(dir, "nginx.conf"), HeaderBytes: 16 << 10, IdleTimeout: time.Minute, WriteLimit: time.Minute}}.nginx(background())
	requireChecks(t, "included", "nginx", got, found{OK, "fits: location /x", ""})
}

func FuzzParseNginx(f *testing.F) {
	for _, seed := range []string{"a b { c 'd'; }", "${", "\"\\", "a{b{c{", "}}}", "a ${b}c\\"} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, text string) { findProxies(parseNginx(text)).reach(tcp) })
}
