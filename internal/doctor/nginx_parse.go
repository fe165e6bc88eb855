package doctor

import (
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/busdk/bus-api-provider-vm/internal/address"
)

// directive is one of nginx: a name, arguments, and perhaps a block.
type directive struct {
	name  string
	args  []string
	block []directive
}

// nginxToken is a comment, one of ; { }, a word in quotes, or another word: a
// backslash takes the character behind it along, ${ the text up to its brace.
// Backslashes stay: nothing that is examined here has any.
var nginxToken = regexp.MustCompile(`#[^\n]*|[;{}]|"(?s:\\.|[^"])*"?|'(?s:\\.|[^'])*'?|(?s:\$\{[^}]*\}|\\.|[^\s;{}])+`)

// parseBlock reads up to the brace that closes a block, or to the end; rest is
// what follows it.
func parseBlock(tokens []string) (block []directive, rest []string) {
	var words []string
	for len(tokens) > 0 {
		token := tokens[0]
		tokens = tokens[1:]
		switch token[0] {
		case '#':
		case '}':
			return block, tokens
		case ';', '{':
			var inner []directive
			if token == "{" {
				inner, tokens = parseBlock(tokens)
			}
			if len(words) > 0 {
				block = append(block, directive{words[0], words[1:], inner})
			}
			words = nil
		case '"', '\'':
			words = append(words, strings.TrimSuffix(token[1:], token[:1]))
		default:
			words = append(words, token)
		}
	}
	return block, nil
}

// settings are the directives in force, by name, the innermost and last of each:
// their arguments.
type settings map[string]string

// within are the settings in force within a block.
func (s settings) within(block []directive) settings {
	inner := maps.Clone(s)
	for _, d := range block {
		if d.block == nil {
			inner[d.name] = strings.Join(d.args, " ")
		}
	}
	return inner
}

// statement is a directive with what surrounds it.
type statement struct {
	directive
	location string // for people, such as `location /api/v1/vm/`
	inForce  settings
}

// flatten lists the directives of a block and of those within it.
func flatten(block []directive, outer settings, location string) (all []statement) {
	inForce := outer.within(block)
	for _, d := range block {
		all = append(all, statement{d, location, inForce})
		within := location
		if d.name == "location" {
			within = "location " + strings.Join(d.args, " ")
		}
		all = append(all, flatten(d.block, inForce, within)...)
	}
	return all
}

// place is a proxy_pass with those of its upstreams that have the address looked
// for.
type place struct {
	statement
	upstreams []directive
	uri       string // what stands behind the host of proxy_pass, in the place of the location's path
}

// losesPath reports that uri turns the paths of the provider into others. With a
// variable in the host it replaces the whole path. What variables or expressions
// make of a path is not examined.
func (p place) losesPath() bool {
	words := strings.Fields(p.location) // location, perhaps a modifier, and the path
	if p.uri == "" || strings.Contains(p.uri, "$") || len(words) < 2 || strings.HasPrefix(words[1], "~") {
		return false
	}
	path, right := words[len(words)-1], "/"
	for _, own := range []string{"/api", "/readyz", "/livez"} {
		if at := strings.Index(path, own); at >= 0 {
			right = path[at:]
		}
	}
	return p.uri != right || words[1] != "=" && strings.Contains(p.args[0], "$")
}

var proxyTarget = regexp.MustCompile(`^https?://(unix:[^:]+|[^/]+):?(.*)`)

// findPlaces returns the places of a configuration that pass requests on to addr,
// as --addr has it. A server outside of http, as nginx -T prints the files that
// http includes, inherits from any http.
func findPlaces(text, addr string) (found []place) {
	var conf []directive
	for tokens := nginxToken.FindAllString(text, -1); len(tokens) > 0; { // one more where a brace closes nothing
		var block []directive
		block, tokens = parseBlock(tokens)
		conf = append(conf, block...)
	}
	base := settings{}
	for _, d := range conf {
		if d.name == "http" {
			base = base.within(d.block)
		}
	}
	all := flatten(conf, base, "")
	for _, s := range all {
		target := proxyTarget.FindStringSubmatch(strings.Join(s.args, " "))
		if s.name != "proxy_pass" || target == nil {
			continue
		}
		at := place{statement: s, uri: target[2]}
		for _, host := range hosts(all, target[1]) {
			up := findUpstream(all, host)
			if slices.ContainsFunc(up.block, func(d directive) bool {
				return d.name == "server" && len(d.args) > 0 && sameListener(d.args[0], addr)
			}) {
				at.upstreams = append(at.upstreams, up)
			}
		}
		if len(at.upstreams) > 0 {
			found = append(found, at)
		}
	}
	return found
}

// hosts is what the host of a proxy_pass may be: itself, or the values of its
// variable in a map.
func hosts(all []statement, host string) (values []string) {
	name, isVariable := strings.CutPrefix(host, "$")
	if !isVariable {
		return []string{host}
	}
	for _, s := range all {
		if s.name == "map" && len(s.args) == 2 && s.args[1] == "$"+strings.Trim(name, "{}") {
			for _, value := range s.block {
				values = append(values, value.args...)
			}
		}
	}
	return values
}

// findUpstream is the upstream of that name, or one of a single server.
func findUpstream(all []statement, host string) directive {
	for _, s := range all {
		if s.name == "upstream" && slices.Equal(s.args, []string{host}) {
			return s.directive
		}
	}
	return directive{"upstream", []string{host}, []directive{{name: "server", args: []string{host}}}}
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
