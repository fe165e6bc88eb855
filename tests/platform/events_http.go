package platform

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	collection = "/api/v1/events"
	// LocalRoot is the path below which the platform's dispatcher expects the
	// API, beside the bare root.
	LocalRoot = "/local/v1"
)

// errorTypes gives the error.type of a refusal.
var errorTypes = map[int]string{
	http.StatusBadRequest:   "bad_request",
	http.StatusUnauthorized: "invalid_auth",
	http.StatusForbidden:    "forbidden",
}

// refusal is an HTTP error on its way to a client, as
// {"error":{"type","message"}}.
type refusal struct {
	status int
	why    string
}

func (f refusal) write(w http.ResponseWriter) {
	body, _ := json.Marshal(map[string]any{ // strings always encode
		"error": map[string]string{"type": cmp.Or(errorTypes[f.status], "refused"), "message": f.why},
	})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	_, _ = w.Write(body) // the client may be gone
}

// claims are the parts of a token that the API looks at.
type claims struct {
	jwt.RegisteredClaims
	Scope string `json:"scope"`
}

// admit returns whose token a request about name has, once it holds the scope
// for that; general is the scope of unprotected names.
func (e *Events) admit(req *http.Request, name, general string) (account string, _ *refusal) {
	scheme, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	var c claims
	_, err := e.parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return []byte(e.cfg.Secret), nil })
	e.mu.Lock()
	revoked := e.revoked[token]
	e.mu.Unlock()
	if !strings.EqualFold(scheme, "Bearer") || err != nil || c.Subject == "" || revoked {
		return "", &refusal{http.StatusUnauthorized, "A valid bearer token is required."}
	}
	if !eventName.MatchString(name) {
		return c.Subject, &refusal{http.StatusBadRequest, "An event name is two or more dot-separated parts of a-z, 0-9, '-' and '_'."}
	}
	needed := neededScope(name, general)
	if needed == "" || !slices.Contains(strings.Split(c.Scope, " "), needed) {
		return c.Subject, &refusal{http.StatusForbidden, fmt.Sprintf("%s needs the scope %q.", name, needed)}
	}
	return c.Subject, nil
}

// unstalled returns the faults in force once none of them stalls; false means that
// the server goes down.
func (r *run) unstalled(name string, by side) (_ Faults, up bool) {
	f, changed := r.faultsOf(name, by)
	for f.Stall {
		select {
		case <-changed:
		case <-r.ctx.Done():
			return f, false
		}
		f, changed = r.faultsOf(name, by)
	}
	return f, true
}

// disturb applies the faults that strike before a request is looked at. It
// returns false when the request has been dealt with. A stalled request waits
// here, and continues under the faults that hold afterwards.
func (r *run) disturb(w http.ResponseWriter, name string, by side) (_ Faults, goOn bool) {
	f, up := r.unstalled(name, by)
	if !up {
		panic(http.ErrAbortHandler)
	}
	status := f.ListenStatus
	if by == publishing {
		status = f.PublishStatus
		if f.HeaderBytes > 0 {
			w.Header().Set("X-Padding", strings.Repeat("x", f.HeaderBytes))
		}
	}
	if r.roll(f.GarbageHTTP, f.Rate) {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_, _ = fmt.Fprintf(conn, "\x16\x03\x01%s\r\n\r\n", r.noise())
			_ = conn.Close()
		}
		return f, false
	}
	if !r.roll(status != 0, f.Rate) {
		return f, true
	}
	if noise := r.noiseIf(&f); noise != "" {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(noise))
		return f, false
	}
	refusal{status, "The fault switch says so."}.write(w)
	return f, false
}

// roll draws from the dice that publishes and openings share.
func (e *Events) roll(on bool, rate float64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dice.strikes(on, rate)
}

func (e *Events) noise() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dice.noise()
}

// noiseIf returns the noise that GarbageBody puts in place of a body, or "".
func (e *Events) noiseIf(f *Faults) string {
	if e.roll(f.GarbageBody, f.Rate) {
		return e.noise()
	}
	return ""
}

// pause waits for d, or until the server goes down.
func (r *run) pause(d time.Duration) {
	if d > 0 && !rest(r.ctx, d) {
		panic(http.ErrAbortHandler)
	}
}

// connOf is the TCP connection that req came in on.
func connOf(req *http.Request) net.Conn { return req.Context().Value(connKey{}).(net.Conn) }
