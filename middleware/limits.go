package middleware

import (
	"bytes"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"
)

// jsonSpace is the white space of JSON (RFC 8259 §2).
const jsonSpace = " \t\r\n"

var errBody = NewError(CodeBadRequest, "This request takes no parameters: send no body, or an empty JSON object.")

// EmptyBody refuses a request whose body is anything but nothing, white space
// or an empty JSON object, so that no caller assumes that a parameter had an effect.
func EmptyBody() fiber.Handler {
	return func(c *fiber.Ctx) error {
		if !isEmptyBody(c.Request().Body()) {
			return errBody
		}
		return c.Next()
	}
}

func isEmptyBody(body []byte) bool {
	body = bytes.Trim(body, jsonSpace)
	if last := len(body) - 1; last > 0 && body[0] == '{' && body[last] == '}' {
		body = bytes.Trim(body[1:last], jsonSpace)
	}
	return len(body) == 0
}

// limitedSubjects bounds the subjects whose pace is remembered. One that is
// forgotten starts over, so a flood of subjects costs no memory.
const limitedSubjects = 16384

// LimitSubject lets each subject make perSecond requests a second, as many of
// them at once, and refuses more with 429. It stands behind the authentication.
func LimitSubject(perSecond int) fiber.Handler {
	limiters := otter.Must(&otter.Options[string, *rate.Limiter]{MaximumSize: limitedSubjects})
	return forCaller(func(c *fiber.Ctx, caller *Identity) error {
		limiter, _ := limiters.ComputeIfAbsent(caller.Subject, func() (*rate.Limiter, bool) {
			return rate.NewLimiter(rate.Limit(perSecond), perSecond), false
		})
		now := time.Now()
		reservation := limiter.ReserveN(now, 1)
		if wait := reservation.DelayFrom(now); wait > 0 {
			reservation.CancelAt(now)
			return &Error{Code: CodeTooManyRequests, Message: "This account acts too often.", RetryAfter: wait}
		}
		return c.Next()
	})
}

const (
	reasonBusy     = "writes_in_flight" // what refusals by a Limit are counted as
	busyRetryAfter = time.Second
)

// Limit shares out the places of what may be under way at once: a write waits for
// its reply, and holds memory and a place at the worker. The last quarter of the
// places is for subjects that hold less than an eighth of them, and the last eighth
// for what is urgent, of which a subject holds its places apart from those of the
// others.
type Limit struct {
	places int

	mu    sync.Mutex
	taken int
	by    map[holder]int // never 0
}

type holder struct {
	subject string
	urgent  bool
}

// NewLimit returns a limit of so many places.
func NewLimit(places int) *Limit {
	return &Limit{places: places, by: make(map[holder]int)}
}

// Handler refuses with 503 a write that has no place. It stands behind the
// authentication. The place is given back at the end, or by Waits.
func (l *Limit) Handler(urgent bool) fiber.Handler {
	refusal := Unavailable(busyRetryAfter, "Too many operations are under way.", nil)
	refusal.Reason = reasonBusy
	return forCaller(func(c *fiber.Ctx, caller *Identity) error {
		give := l.Take(caller.Subject, urgent)
		if give == nil {
			return refusal
		}
		defer give()
		c.Locals(placeKey{}, give)
		return c.Next()
	})
}

type (
	placeKey struct{} // where Handler leaves how to give the place back
	waitsKey struct{} // where Waits leaves the time
)

// Waits says that from now on the request only waits, as its caller asked: that is no
// measure of this server, and takes no place of the writes.
func Waits(c *fiber.Ctx) {
	c.Locals(waitsKey{}, time.Now())
	if give, ok := c.Locals(placeKey{}).(func()); ok {
		give()
	}
}

// Take takes a place for subject, and returns what gives it back, nil if there is no
// place for it.
func (l *Limit) Take(subject string, urgent bool) (give func()) {
	h := holder{subject, urgent}
	l.mu.Lock()
	defer l.mu.Unlock()
	eighth, open := l.places/8, l.places
	if !h.urgent {
		open -= eighth
	}
	if l.taken >= open || l.taken >= l.places-l.places/4 && l.by[h] >= max(1, eighth) {
		return nil
	}
	l.taken++
	l.by[h]++
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.taken--
		if l.by[h]--; l.by[h] == 0 {
			delete(l.by, h)
		}
	})
}

// Taken returns how many places are taken.
func (l *Limit) Taken() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.taken
}
