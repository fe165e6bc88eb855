package doctor

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Nginx is the configuration of the nginx in front, and the settings that it
// must fit.
type Nginx struct {
	// Path is a file: nginx.conf, one that it includes, or what nginx -T prints.
	Path string
	// HeaderBytes is server.header_bytes, IdleTimeout server.idle_timeout.
	HeaderBytes int
	IdleTimeout time.Duration
	// WriteLimit is how long a start or stop may take before it is answered.
	WriteLimit time.Duration
}

// What nginx does where its configuration is silent.
var (
	defaultBuffers     = []string{"4", "8k"} // large_client_header_buffers
	defaultReadTimeout = []string{"60s"}     // proxy_read_timeout
	defaultKeepalive   = []string{"60s"}     // keepalive_timeout of an upstream
)

func (c Config) nginx(context.Context) (found []Check) {
	const name = "nginx"
	if c.Nginx == nil {
		return nil
	}
	all, err := readNginx(c.Nginx.Path)
	if err != nil {
		return []Check{{name, Failed, err.Error(), "give --nginx-conf a file that this user may read, for example the output of nginx -T"}}
	}
	p := findProxies(all)
	places := p.reach(c.Addr)
	if len(places) == 0 {
		return []Check{{name, Failed, "no location passes requests to " + c.Addr,
			"include deploy/nginx/bus-vm.conf, with this address in its upstreams, and give all of the configuration to --nginx-conf (nginx -T)"}}
	}
	var names []string
	for _, place := range places {
		names = append(names, place.name)
		for _, check := range slices.Concat(c.Nginx.headers(place), c.Nginx.timeouts(place), once(place), c.Nginx.keepalive(p, place)) {
			check.Name = name
			if !slices.Contains(found, check) {
				found = append(found, check)
			}
		}
	}
	return orOK(found, name, "fits: "+strings.Join(slices.Compact(names), ", "))
}

// headers: a request whose headers fit the provider fits nginx as well.
func (n Nginx) headers(at place) []Check {
	buffers := at.inForce["large_client_header_buffers"]
	if len(buffers) != 2 {
		buffers = defaultBuffers
	}
	size, ok := nginxSize(buffers[1])
	if !ok || size >= n.HeaderBytes {
		return nil
	}
	return []Check{{Status: Warning,
		Detail: fmt.Sprintf("large_client_header_buffers %s refuses headers that server.header_bytes (%d) takes: large tokens get 400", strings.Join(buffers, " "), n.HeaderBytes),
		Do:     fmt.Sprintf("set large_client_header_buffers 4 %dk; in the first server of the address", (n.HeaderBytes+1023)/1024)}}
}

// timeouts: the one that gives up first must be the provider, which knows what
// became of a start or stop.
func (n Nginx) timeouts(at place) []Check {
	args := at.inForce["proxy_read_timeout"]
	limit, ok := nginxTime(strings.Join(args, ""))
	if !ok {
		limit, _ = nginxTime(defaultReadTimeout[0])
	}
	if limit > n.WriteLimit {
		return nil
	}
	return []Check{{Status: Failed,
		Detail: fmt.Sprintf("%s: proxy_read_timeout %s is not above %s, how long a start or stop may take: callers get 504 for what is carried out",
			at.name, cmp.Or(strings.Join(args, " "), defaultReadTimeout[0]), n.WriteLimit),
		Do: fmt.Sprintf("set proxy_read_timeout %ds;", int((n.WriteLimit+15*time.Second)/time.Second))}}
}

// once: nothing that starts or stops a machine is sent a second time.
func once(at place) []Check {
	if !slices.Contains(at.inForce["proxy_next_upstream"], "non_idempotent") {
		return nil
	}
	return []Check{{Status: Failed,
		Detail: at.name + ": proxy_next_upstream … non_idempotent sends a start or stop to a second instance when the first may have carried it out",
		Do:     "remove non_idempotent"}}
}

// keepalive: nginx closes a resting connection before the provider does, so
// that no request meets a connection that is being closed.
func (n Nginx) keepalive(p *proxies, at place) (found []Check) {
	for _, host := range at.upstreams {
		settings := simple(p.upstreams[host])
		if settings["keepalive"] == nil {
			continue
		}
		args := settings["keepalive_timeout"]
		rest, ok := nginxTime(strings.Join(args, ""))
		if !ok {
			rest, _ = nginxTime(defaultKeepalive[0])
		}
		if rest >= n.IdleTimeout {
			found = append(found, Check{Status: Warning,
				Detail: fmt.Sprintf("upstream %s: keepalive_timeout %s is not below server.idle_timeout (%s): a request may meet a connection that is being closed",
					host, cmp.Or(strings.Join(args, " "), defaultKeepalive[0]), n.IdleTimeout),
				Do: fmt.Sprintf("set keepalive_timeout %ds;, or raise server.idle_timeout", max(1, int(n.IdleTimeout/time.Second)-15))})
		}
	}
	return found
}

// nginxSize reads sizes such as 8k.
func nginxSize(text string) (bytes int, ok bool) {
	unit := 1
	switch {
	case strings.HasSuffix(strings.ToLower(text), "k"):
		unit = 1 << 10
	case strings.HasSuffix(strings.ToLower(text), "m"):
		unit = 1 << 20
	}
	number, err := strconv.Atoi(strings.TrimRight(text, "kKmM"))
	return number * unit, err == nil
}

var (
	nginxTimes = regexp.MustCompile(`(\d+)(ms|[smhd]?)`)
	nginxTimed = regexp.MustCompile(`^(\d+(ms|[smhd]?))+$`)
)

// nginxTime reads times such as 75, 30s or 1m30s.
func nginxTime(text string) (d time.Duration, ok bool) {
	if !nginxTimed.MatchString(text) {
		return 0, false
	}
	units := map[string]time.Duration{"ms": time.Millisecond, "": time.Second, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
	for _, part := range nginxTimes.FindAllStringSubmatch(text, -1) {
		number, err := strconv.Atoi(part[1])
		if err != nil {
			return 0, false
		}
		d += time.Duration(number) * units[part[2]]
	}
	return d, true
}
