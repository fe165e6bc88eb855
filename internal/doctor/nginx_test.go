package doctor

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/config"
)

// lookAt writes a configuration and has it looked at with the default settings.
func lookAt(t *testing.T, addr, text string) []Check {
	t.Helper()
	s := service()
	s.Addr, s.Timeout = addr, 60*time.Second
	s.Server.HeaderBytes, s.Server.IdleTimeout = 16<<10, 75*time.Second
	s.NginxConf = writeFile(t, filepath.Join(t.TempDir(), "nginx.conf"), text, 0o600)
	return examine(s.nginx)
}

const tcp = "127.0.0.1:8085"

func TestNginx(t *testing.T) {
	const good = "large_client_header_buffers 4 16k; proxy_read_timeout 90s;"
	api := func(more, location string) string {
		if !strings.Contains(location, "proxy_pass") {
			location += " proxy_pass http://" + tcp + ";"
		}
		return "http { " + more + " server { location /api/v1/vm/ { " + location + " } } }"
	}
	fits := found{OK, "fits: location /api/v1/vm/", ""}
	tooShort := func(value string) found {
		return found{Failed, "location /api/v1/vm/: proxy_read_timeout " + value + " is not above 1m0s, .*", "set proxy_read_timeout 75s;"}
	}
	buffers := func(value string) found {
		return found{Warning, "large_client_header_buffers " + value + " refuses headers.*", "set large.*"}
	}
	twice := found{Failed, "location /api/v1/vm/: proxy_next_upstream … non_idempotent .*", "remove non_idempotent"}
	lost := func(location, pass, uri string) found {
		return found{Failed, regexp.QuoteMeta("location " + location + ": proxy_pass " + pass + " replaces the path by " + uri + ": callers get 404"),
			"end proxy_pass behind the host and port, without " + uri}
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
		{"empty", "", []found{{Failed, "no location passes requests to " + tcp, "include.*"}}},
		{"another service", "http { server { location / { proxy_pass http://127.0.0.1:80; } } }", []found{{Failed, "no location.*", ".*"}}},
		{"port 80", "http { server { location / { proxy_pass http://example.com/; } } }", []found{{Failed, "no location.*", ".*"}}},
		{"by https, which the service does not speak", "http { server { location / { proxy_pass https://" + tcp + "; } } }", []found{{Failed, "no location.*", ".*"}}},
		{"two places, one said twice", "http { large_client_header_buffers 4 16k; server { location /a { proxy_pass http://" + tcp + "/; } location = /b { proxy_pass http://" + tcp + "; proxy_read_timeout 2m; } } }",
			[]found{{Failed, "location /a: .*", ".*"}}},
		{"the path is lost", api(good, "proxy_pass http://"+tcp+"/;"), []found{lost("/api/v1/vm/", "http://"+tcp+"/", "/")}},
		{"another path", api(good, "proxy_pass http://"+tcp+"/vm/;"), []found{lost("/api/v1/vm/", "http://"+tcp+"/vm/", "/vm/")}},
		{"half a path", api(good, "proxy_pass http://"+tcp+"/api/v1;"), []found{lost("/api/v1/vm/", "http://"+tcp+"/api/v1", "/api/v1")}},
		{"the same path", api(good, "proxy_pass http://"+tcp+"/api/v1/vm/;"), []found{fits}},
		{"below a prefix", "http { " + good + " server { location /gpu/ { proxy_pass http://" + tcp + "/; } } }", []found{{OK, "fits: location /gpu/", ""}}},
		{"below a longer one", "http { " + good + " server { location /gpu/api/ { proxy_pass http://" + tcp + "/api/; } } }", []found{{OK, "fits: location /gpu/api/", ""}}},
		{"readiness lost", "http { " + good + " server { location = /readyz { proxy_pass http://" + tcp + "/; } } }",
			[]found{lost("= /readyz", "http://"+tcp+"/", "/")}},
		{"readiness of another name", "http { " + good + " server { location = /gpu/readyz { proxy_pass http://" + tcp + "/readyz; } } }",
			[]found{{OK, "fits: location = /gpu/readyz", ""}}},
		{"lost through a variable", "http { " + good + " map $m $up { default w; } upstream w { server 127.0.0.1:8085; } server { location / { proxy_pass http://$up/; } } }",
			[]found{lost("/", "http://$up/", "/")}},
		{"by an expression", "http { " + good + " server { location ~ ^/gpu(/.*) { proxy_pass http://" + tcp + "/$1; } } }", []found{{OK, "fits: location ~ .*", ""}}},
		{"through a variable", "http { " + good + " map $m $up { default w; GET r; } upstream w { server 10.0.0.1:1; } upstream r { server 127.0.0.1:8085; } server { location / { proxy_pass http://${up}; } } }",
			[]found{{OK, "fits: location /", ""}}},
		{"within if", "http { " + good + " server { location / { if ($x) { proxy_pass http://" + tcp + "; } } } }", []found{{OK, "fits: location /", ""}}},
		{"a snippet alone", "server { " + good + " location /x { proxy_pass http://" + tcp + "; } }", []found{{OK, "fits: location /x", ""}}},
		{"days", api(good, "proxy_read_timeout 2d;"), []found{fits}},
		{"in quotes", api(good, `proxy_read_timeout "5s"; # proxy_read_timeout 2d;`+"\n"), []found{tooShort("5s")}},
		{"what nginx -T prints", "# configuration file /etc/nginx/nginx.conf:\nhttp { " + good + " include /etc/nginx/conf.d/*.conf; }\n\n# configuration file /etc/nginx/conf.d/a.conf:\nserver { location /x { proxy_pass http://" + tcp + "; } }\n",
			[]found{{OK, "fits: location /x", ""}}},
	} {
		requireChecks(t, c.about, "nginx", lookAt(t, tcp, c.text), c.want...)
	}
	const unixConf = "http { " + good + " upstream vm { server unix:/run/up.sock; } server { location / { proxy_pass http://unix:/run/vm.sock:/; } location /up { proxy_pass http://vm; } } }"
	for addr, want := range map[string]found{
		"unix:/run/vm.sock": {OK, "fits: location /", ""}, "unix:/run/up.sock": {OK, "fits: location /up", ""}, "unix:/run/other.sock": {Failed, "no location.*", ".*"},
	} {
		requireChecks(t, addr, "nginx", lookAt(t, addr, unixConf), want)
	}
	s := service()
	s.Addr, s.Backend, s.Server.IdleTimeout = tcp, config.Events, 75*time.Second
	s.NginxConf = writeFile(t, filepath.Join(t.TempDir(), "nginx.conf"), api(good, ""), 0o600)
	requireChecks(t, "readiness without streams", "nginx", examine(s.nginx), found{Warning, "events.listener_required is off: .*", "set events.listener_required: true"})
	s.Events.ListenerRequired = true
	requireChecks(t, "readiness with streams", "nginx", examine(s.nginx), fits)
	s = service()
	s.NginxConf = "/nonexistent/nginx.conf"
	requireChecks(t, "no file", "nginx", examine(s.nginx), found{Failed, ".*no such file.*", "give --nginx-conf.*"})
}

func FuzzParseNginx(f *testing.F) {
	for _, seed := range []string{"a b { c 'd'; }", "${", "\"\\", "a{b{c{", "}}}", "a ${b}c\\"} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, text string) { findPlaces(text, tcp) })
}
