package doctor

import (
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/busdk/bus-api-provider-vm/internal/address"
)

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
	upstreams []*block // with the address
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

var proxyTarget = regexp.MustCompile(`^https?://(unix:[^:]+|[^/]+):?(.*)`)

// findPlaces returns the places of a configuration that pass requests on to addr,
// as --addr has it.
func findPlaces(text, addr string) (found []place) {
	all := parse(text)
	for _, d := range all {
		target := proxyTarget.FindStringSubmatch(strings.Join(d.args, " "))
		if d.name != "proxy_pass" || target == nil {
			continue
		}
		at := place{block: d.in, pass: target[0], uri: target[2]}
		for b := d.in; b != nil && at.location == nil; b = b.outer {
			if len(b.words) > 0 && b.words[0] == "location" {
				at.location = b.words
			}
		}
		for _, host := range hosts(all, target[1]) {
			at.upstreams = append(at.upstreams, upstreams(all, host, addr)...)
		}
		if len(at.upstreams) > 0 {
			found = append(found, at)
		}
	}
	return found
}

// hosts is what the host of a proxy_pass may be: itself, or the values of its
// variable in a map.
func hosts(all []directive, host string) (values []string) {
	name, isVariable := strings.CutPrefix(host, "$")
	if !isVariable {
		return []string{host}
	}
	for _, d := range all {
		if of := d.in.words; len(of) == 3 && of[0] == "map" && of[2] == "$"+strings.Trim(name, "{}") {
			values = append(values, d.args...)
		}
	}
	return values
}

// upstreams are the blocks of that name with the server addr; a host without one is
// a server by itself.
func upstreams(all []directive, host, addr string) (found []*block) {
	named := false
	for _, d := range all {
		if slices.Equal(d.in.words, []string{"upstream", host}) {
			named = true
			if d.name == "server" && len(d.args) > 0 && sameListener(d.args[0], addr) {
				found = append(found, d.in)
			}
		}
	}
	if !named && sameListener(host, addr) {
		found = []*block{{}}
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
