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

// The error.type of what the API refuses itself.
const (
	typeBadRequest  = "bad_request"
	typeInvalidAuth = "invalid_auth"
	typeForbidden   = "forbidden"
)

// refusal is an HTTP error on its way to a client, as
// {"error":{"type","message"}}.
type refusal struct {
	status    int
	kind, why string
}

func (f refusal) write(w http.ResponseWriter) {
	body, _ := json.Marshal(map[string]any{ // strings always encode
		"error": map[string]string{"type": f.kind, "message": f.why},
	})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	_, _ = w.Write(body) // the client may be gone
}

func (r *run) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if !r.enter() {
		panic(http.ErrAbortHandler)
	}
	defer r.handlers.Done()
	path := strings.TrimPrefix(req.URL.Path, LocalRoot)
	var method string
	var handle func(http.ResponseWriter, *http.Request)
	switch path {
	case collection:
		method, handle = http.MethodPost, r.publish
	case collection + "/stream":
		method, handle = http.MethodGet, r.stream
	default:
		refusal{http.StatusNotFound, "not_found", "No such endpoint."}.write(w)
		return
	}
	if req.Method != method {
		w.Header().Set("Allow", method)
		refusal{http.StatusMethodNotAllowed, "method_not_allowed", "Use " + method + "."}.write(w)
		return
	}
	handle(w, req)
}

// claims are the parts of a token that the API looks at.
type claims struct {
	jwt.RegisteredClaims
	Scope string `json:"scope"`
}

// authenticate returns whose token it is and which scopes it holds.
func (e *Events) authenticate(req *http.Request) (account string, scopes []string, _ *refusal) {
	denied := &refusal{http.StatusUnauthorized, typeInvalidAuth, "A valid bearer token is required."}
	scheme, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", nil, denied
	}
	var c claims
	_, err := e.parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) {
		return []byte(e.cfg.Secret), nil
	})
	if err != nil || c.Subject == "" {
		return "", nil, denied
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.revoked[token] {
		return "", nil, denied
	}
	return c.Subject, strings.Split(c.Scope, " "), nil
}

// authorize checks the scope for name; general is the scope of unprotected
// names.
func authorize(name, general string, scopes []string) *refusal {
	needed, open := neededScope(name, general)
	if !open {
		return &refusal{http.StatusForbidden, typeForbidden, "Nobody may use " + name + " here."}
	}
	if !slices.Contains(scopes, needed) {
		return &refusal{http.StatusForbidden, typeForbidden, fmt.Sprintf("%s needs the scope %s.", name, needed)}
	}
	return nil
}

// disturb applies the faults that strike before a request is looked at. It
// returns false when the request has been dealt with. A stalled request waits
// here, and continues under the faults that hold afterwards.
func (r *run) disturb(w http.ResponseWriter, name string, by side, status func(*Faults) int) (_ Faults, goOn bool) {
	f, changed := r.faults.of(name, by)
	for f.Stall {
		select {
		case <-changed:
		case <-r.ctx.Done():
			panic(http.ErrAbortHandler)
		}
		f, changed = r.faults.of(name, by)
	}
	if by == publishing {
		padding(w.Header(), f.HeaderBytes)
	}
	if r.roll(f.GarbageHTTP, f.Rate) {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_, _ = fmt.Fprintf(conn, "\x16\x03\x01%s\r\n\r\n", r.noise())
			_ = conn.Close()
		}
		return f, false
	}
	if code := status(&f); r.roll(code != 0, f.Rate) {
		if r.roll(f.GarbageBody, f.Rate) {
			w.WriteHeader(code)
			_, _ = w.Write([]byte(r.noise()))
			return f, false
		}
		refusal{code, cmp.Or(statusTypes[code], "refused"), "The fault switch says so."}.write(w)
		return f, false
	}
	return f, true
}

// roll draws from the dice that publishes and openings share.
func (e *Events) roll(on bool, rate float64) bool {
	if !on {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dice.strikes(on, rate)
}

func (e *Events) noise() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dice.noise()
}

// pause waits for d, or until the server goes down.
func (r *run) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.ctx.Done():
		panic(http.ErrAbortHandler)
	}
}

// connOf is the TCP connection that req came in on.
func connOf(req *http.Request) net.Conn {
	return req.Context().Value(connKey{}).(net.Conn)
}
