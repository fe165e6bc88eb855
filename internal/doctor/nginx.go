package doctor

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/config"
)

const (
	// defaultTimeout is that of proxy_read_timeout, and of keepalive_timeout in an
	// upstream.
	defaultTimeout = "60s"
	// margin is how far apart time-outs are advised to be.
	margin = 15 * time.Second
)

var (
	includes = regexp.MustCompile(`(?m)^[^#\n]*\binclude\s`)
	dumped   = regexp.MustCompile(`(?m)^# configuration file `) // begins each file in the output of nginx -T
)

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
	if includes.Match(text) && !dumped.Match(text) {
		r.warn(nginx, "the files that "+s.NginxConf+" includes are not read", "give --nginx-conf the output of nginx -T")
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
	limit := cmp.Or(at.get("proxy_read_timeout"), defaultTimeout)
	if nginxTime(limit) <= writeLimit {
		r.fail(nginx, fmt.Sprintf("%s: proxy_read_timeout %s is not above %s, how long a start or stop may take: callers get 504 for what is carried out",
			where, limit, writeLimit), fmt.Sprintf("set proxy_read_timeout %ds;", int((writeLimit+margin).Seconds())))
	}
	// Nothing that starts or stops a machine is sent a second time.
	if slices.Contains(strings.Fields(at.get("proxy_next_upstream")), "non_idempotent") {
		r.fail(nginx, where+": proxy_next_upstream … non_idempotent sends a start or stop to a second instance when the first may have carried it out",
			"remove non_idempotent")
	}
	// nginx closes a resting connection before the provider does, so that no
	// request meets a connection that is being closed.
	for _, up := range at.upstreams {
		rest := cmp.Or(up.set["keepalive_timeout"], defaultTimeout)
		if up.set["keepalive"] != "" && nginxTime(rest) >= s.Server.IdleTimeout {
			r.warn(nginx, fmt.Sprintf("upstream %s: keepalive_timeout %s is not below server.idle_timeout (%s): a request may meet a connection that is being closed",
				up.words[1], rest, s.Server.IdleTimeout), fmt.Sprintf("set keepalive_timeout %ds;, or raise server.idle_timeout", max(1, int((s.Server.IdleTimeout-margin).Seconds()))))
		}
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
