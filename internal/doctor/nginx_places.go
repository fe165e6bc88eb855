package doctor

import (
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/busdk/bus-api-provider-vm/internal/address"
)

// place is a location of nginx that passes requests on.
type place struct {
	name      string // for people, such as `location /api/v1/vm/`
	target    string // of proxy_pass
	upstreams []string
	// in force are the directives that count here, by name: the innermost.
	inForce map[string][]string
}

// proxies is what a configuration says about passing requests on.
type proxies struct {
	places    []place
	upstreams map[string][]directive // by name, their blocks
	variables map[string][]string    // by name with $, the values of map
}

// findProxies collects the places of a configuration. A server that stands
// outside of http, as in a file that http includes, inherits from any http.
func findProxies(all []directive) *proxies {
	p := &proxies{upstreams: map[string][]directive{}, variables: map[string][]string{}}
	base := map[string][]string{}
	for _, d := range all {
		if d.name == "http" {
			maps.Copy(base, simple(d.block))
		}
	}
	p.visit(all, base, "")
	for i := range p.places {
		p.places[i].upstreams = p.hosts(p.places[i].target)
	}
	return p
}

// visit walks a block whose surroundings say what is inherited.
func (p *proxies) visit(block []directive, outer map[string][]string, name string) {
	inForce := maps.Clone(outer)
	maps.Copy(inForce, simple(block))
	for _, d := range block {
		switch {
		case d.name == "upstream" && len(d.args) == 1:
			p.upstreams[d.args[0]] = d.block
		case d.name == "map" && len(d.args) == 2:
			for _, value := range d.block {
				if len(value.args) == 1 {
					p.variables[d.args[1]] = append(p.variables[d.args[1]], value.args[0])
				}
			}
		case d.name == "proxy_pass" && len(d.args) == 1:
			p.places = append(p.places, place{name: name, target: d.args[0], inForce: inForce})
		case d.name == "location":
			p.visit(d.block, inForce, "location "+strings.Join(d.args, " "))
		case d.block != nil:
			p.visit(d.block, inForce, name)
		}
	}
}

// simple are the directives of a block without a block of their own, the last
// of each name.
func simple(block []directive) map[string][]string {
	found := map[string][]string{}
	for _, d := range block {
		if d.block == nil {
			found[d.name] = d.args
		}
	}
	return found
}

var proxyTarget = regexp.MustCompile(`^https?://(unix:[^:]+|[^/]+)`)

// hosts names the upstreams, or single servers, that a proxy_pass may reach.
func (p *proxies) hosts(target string) []string {
	match := proxyTarget.FindStringSubmatch(target)
	if match == nil {
		return nil
	}
	host := match[1]
	if !strings.HasPrefix(host, "$") {
		return []string{host}
	}
	values := p.variables["$"+strings.Trim(host[1:], "{}")]
	return slices.Compact(slices.Sorted(slices.Values(values)))
}

// servers are the addresses behind a host of proxy_pass.
func (p *proxies) servers(host string) (addresses []string) {
	block, named := p.upstreams[host]
	if !named {
		return []string{host}
	}
	for _, d := range block {
		if d.name == "server" && len(d.args) > 0 {
			addresses = append(addresses, d.args[0])
		}
	}
	return addresses
}

// reach are the places that pass requests on to addr, as --addr has it. Of a
// TCP address the port counts: names and interfaces differ between machines.
func (p *proxies) reach(addr string) (found []place) {
	for _, each := range p.places {
		for _, host := range each.upstreams {
			if slices.ContainsFunc(p.servers(host), func(server string) bool { return sameListener(server, addr) }) {
				found = append(found, each)
				break
			}
		}
	}
	return found
}

func sameListener(server, addr string) bool {
	if strings.HasPrefix(addr, address.UnixPrefix) || strings.HasPrefix(server, address.UnixPrefix) {
		return server == addr
	}
	const httpPort = "80"
	_, port, err := net.SplitHostPort(addr)
	_, other, split := net.SplitHostPort(server)
	if split != nil {
		other = httpPort
	}
	return err == nil && port == other
}
