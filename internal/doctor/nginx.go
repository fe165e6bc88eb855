package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/address"
	"github.com/busdk/bus-api-provider-vm/internal/config"
)

// margin is how far apart time-outs are advised to be.
const margin = 15 * time.Second

const nginx = "nginx"

func (s Service) nginx(_ context.Context, r *Report) {
	if s.NginxConf == "" {
		return
	}
	text, err := os.ReadFile(s.NginxConf)
	if err != nil {
		r.fail(nginx, err.Error(), "give --nginx-conf a file that this user may read, for example the output of nginx -T")
		return
	}
	var names []string
	for _, at := range findPlaces(string(text), s.Addr) {
		names = append(names, strings.Join(at.location, " "))
		s.place(r, at)
	}
	if len(names) == 0 {
		r.fail(nginx, "no location passes requests to "+s.Addr,
			"include deploy/nginx/bus-vm.conf, with this address in its upstreams, and give all of the configuration to --nginx-conf (nginx -T)")
	}
	if s.NeedsEvents() && !s.Events.ListenerRequired && len(names) > 0 {
		r.warn(nginx, "events.listener_required is off: /readyz stays 200 while Events is away, so what looks there goes on sending requests that end in 503",
			"set events.listener_required: true")
	}
	r.ok(nginx, "fits: "+strings.Join(slices.Compact(names), ", "))
}

// place examines one place that passes requests on to the service.
func (s Service) place(r *Report, at place) {
	where := strings.Join(at.location, " ")
	// The provider has its paths where callers ask for them.
	if at.losesPath() {
		r.fail(nginx, fmt.Sprintf("%s: proxy_pass %s replaces the path by %s: callers get 404", where, at.pass, at.uri),
			"end proxy_pass behind the host and port, without "+at.uri)
	}
	// A request whose headers fit the provider fits nginx as well.
	buffers := cmp.Or(at.get("large_client_header_buffers"), "4 8k")
	_, size, _ := strings.Cut(buffers, " ")
	if nginxSize(size) < s.Server.HeaderBytes {
		r.warn(nginx, fmt.Sprintf("large_client_header_buffers %s refuses headers that server.header_bytes (%d) takes: large tokens get 400", buffers, s.Server.HeaderBytes),
			fmt.Sprintf("set large_client_header_buffers 4 %dk; in the first server of the address", (s.Server.HeaderBytes+1023)/1024))
	}
	// The provider gives up first: it knows what became of a start or stop. It may
	// wait for the entitlement, then for the runtime.
	writeLimit := s.Timeout
	if s.Billing.Backend == config.Events {
		writeLimit *= 2
	}
	limit := cmp.Or(at.get("proxy_read_timeout"), "60s")
	if nginxTime(limit) <= writeLimit {
		r.fail(nginx, fmt.Sprintf("%s: proxy_read_timeout %s is not above %s, how long a start or stop may take: callers get 504 for what is carried out",
			where, limit, writeLimit), fmt.Sprintf("set proxy_read_timeout %ds;", int((writeLimit+margin).Seconds())))
	}
	// Nothing that starts or stops a machine is sent a second time.
	if slices.Contains(strings.Fields(at.get("proxy_next_upstream")), "non_idempotent") {
		r.fail(nginx, where+": proxy_next_upstream … non_idempotent sends a start or stop to a second instance when the first may have carried it out",
			"remove non_idempotent")
	}
}

// nginxSize reads sizes such as 8k, in bytes. nginx itself refuses other text.
func nginxSize(text string) (number int) {
	var unit string
	_, _ = fmt.Sscanf(text, "%d%s", &number, &unit)
	return number << map[string]int{"k": 10, "m": 20}[strings.ToLower(unit)]
}

// nginxTime reads times such as 75, 30s or 1m30s. The units that only nginx
// has are days and longer.
func nginxTime(text string) time.Duration {
	if strings.TrimRight(text, "0123456789") != text {
		text += "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 24 * time.Hour
	}
	return d
}

// block is one of nginx, such as that of a location.
type block struct {
	outer *block
	words []string          // in front of its brace
	set   map[string]string // the arguments of the directives in it, by name; the last counts
}

// get is what is in force in a block.
func (b *block) get(name string) string {
	for ; b != nil; b = b.outer {
		if args, ok := b.set[name]; ok {
			return args
		}
	}
	return ""
}

// directive is one that ends in a semicolon.
type directive struct {
	name string
	args []string
	in   *block
}

// nginxToken is a comment, one of ; { }, a word in quotes, or another word: a
// backslash takes the character behind it along, ${ the text up to its brace.
// Backslashes stay: nothing that is examined here has any.
var nginxToken = regexp.MustCompile(`#[^\n]*|[;{}]|"(?s:\\.|[^"])*"?|'(?s:\\.|[^'])*'?|(?s:\$\{[^}]*\}|\\.|[^\s;{}])+`)

// parse lists the directives of a configuration. What http sets counts for all of
// it: nginx -T prints the files that http includes outside of it.
func parse(text string) (all []directive) {
	in := &block{set: map[string]string{}}
	var words []string
	for _, token := range nginxToken.FindAllString(text, -1) {
		switch token[0] {
		case '#':
		case '{':
			set := map[string]string{}
			if slices.Equal(words, []string{"http"}) {
				set = in.set
			}
			in, words = &block{in, words, set}, nil
		case '}':
			if in.outer != nil {
				in = in.outer
			}
			words = nil
		case ';':
			if len(words) > 0 {
				in.set[words[0]] = strings.Join(words[1:], " ")
				all = append(all, directive{words[0], words[1:], in})
			}
			words = nil
		case '"', '\'':
			words = append(words, strings.TrimSuffix(token[1:], token[:1]))
		default:
			words = append(words, token)
		}
	}
	return all
}

// place is a proxy_pass to the address looked for.
type place struct {
	*block
	pass, uri string   // its argument, and what stands there behind the host, in the place of the location's path
	location  []string // such as `location /api/v1/vm/`
}

// losesPath reports that uri turns the paths of the provider into others. With a
// variable in the host it replaces the whole path. What variables or expressions
// make of a path is not examined.
func (p place) losesPath() bool {
	words := p.location // perhaps with a modifier before the path
	if p.uri == "" || strings.Contains(p.uri, "$") || len(words) < 2 || strings.HasPrefix(words[1], "~") {
		return false
	}
	path, right := words[len(words)-1], "/"
	for _, own := range []string{"/api", "/readyz", "/livez"} {
		if at := strings.Index(path, own); at >= 0 {
			right = path[at:]
		}
	}
	return p.uri != right || words[1] != "=" && strings.Contains(p.pass, "$")
}

var proxyTarget = regexp.MustCompile(`^http://(unix:[^:]+|[^/]+):?(.*)`)

// findPlaces returns the places of a configuration that pass requests on to addr,
// as --addr has it.
func findPlaces(text, addr string) (found []place) {
	all := parse(text)
	for _, d := range all {
		target := proxyTarget.FindStringSubmatch(strings.Join(d.args, " "))
		if d.name != "proxy_pass" || target == nil || !slices.ContainsFunc(servers(all, target[1]), func(server string) bool { return sameListener(server, addr) }) {
			continue
		}
		at := place{block: d.in, pass: target[0], uri: target[2]}
		for b := d.in; b != nil && at.location == nil; b = b.outer {
			if len(b.words) > 0 && b.words[0] == "location" {
				at.location = b.words
			}
		}
		found = append(found, at)
	}
	return found
}

// servers is what the host of a proxy_pass may be: itself, the values of its variable
// in a map, or the servers of the upstreams of these names.
func servers(all []directive, host string) (found []string) {
	found = []string{host}
	for _, d := range all {
		if of := d.in.words; len(of) == 3 && of[0] == "map" && of[2] == strings.NewReplacer("{", "", "}", "").Replace(host) {
			found = append(found, d.args...)
		}
	}
	for _, d := range all {
		if of := d.in.words; d.name == "server" && len(d.args) > 0 && len(of) == 2 && of[0] == "upstream" && slices.Contains(found, of[1]) {
			found = append(found, d.args[0])
		}
	}
	return found
}

// sameListener reports a server of nginx that is addr. Of a TCP address the port
// counts: names and interfaces differ between machines.
func sameListener(server, addr string) bool {
	if strings.HasPrefix(addr, address.UnixPrefix) || strings.HasPrefix(server, address.UnixPrefix) {
		return server == addr
	}
	_, port, _ := net.SplitHostPort(addr)
	if _, other, err := net.SplitHostPort(server); err == nil {
		return other == port
	}
	return port == "80" // where nginx connects without one
}
