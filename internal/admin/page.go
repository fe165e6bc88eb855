package admin

import (
	"context"
	"embed"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"path"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/address"
)

const dialTimeout = 2 * time.Second // to the listener of the API, in this process

//go:embed page
var files embed.FS

// page serves a page for browsers that shows what this listener knows, and starts and
// stops the runtime by the API.
func page(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-cache") // the next version has another
	http.ServeFileFS(w, r, files, path.Join("page", r.URL.Path))
}

// api serves the API by its own listener, with all of its checks. Each request has a
// connection of its own there: none is ever sent twice.
func (c Config) api() http.Handler {
	dialer := net.Dialer{Timeout: dialTimeout}
	return &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", r.In.Host },
		FlushInterval: -1, // at once
		Transport: &http.Transport{
			DisableKeepAlives: true, DisableCompression: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, c.API.Network(), c.API.String())
			},
		},
		ErrorHandler: apiAway,
		ErrorLog:     slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug), // of streams that were cut
	}
}

// apiAway answers in the envelope of the API, with what became of a write.
func apiAway(w http.ResponseWriter, r *http.Request, err error) {
	failure := map[string]string{"type": "backend_unavailable", "message": "This instance does not serve the API now: it is about to end."}
	if r.Method == http.MethodPost {
		failure["outcome"] = "unknown"
		if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
			failure["outcome"] = "not_sent"
		}
	}
	answer(w, http.StatusServiceUnavailable, map[string]any{"error": failure})
}

// guard protects against pages of other sites in the browser of an operator. They may
// neither frame nor call anything here. A name of another site that resolves to this
// address (DNS rebinding) shows in the Host header, so only IP addresses and localhost
// are taken there; not for metrics and health, which Prometheus and probes ask for by
// any name.
func guard(next http.Handler) http.Handler {
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusForbidden, map[string]string{"error": "pages of other origins may not do this"})
	}))
	next = sameOrigin.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		switch r.URL.Path {
		case "/metrics", "/livez", "/readyz":
		default:
			if !isAddress(r.Host) {
				answer(w, http.StatusMisdirectedRequest, map[string]string{"error": "ask by an IP address or as localhost, not by another name"})
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// isAddress reports a Host header that is an IP address or localhost.
func isAddress(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return address.IsLoopbackHost(host) || net.ParseIP(strings.Trim(host, "[]")) != nil
}
