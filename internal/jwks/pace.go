package jwks

import (
	"strconv"
	"strings"
	"time"
)

const (
	// usualInterval is between two fetches of a document without a max-age;
	// what one asks for is kept within the other two.
	usualInterval    = 5 * time.Minute
	shortestInterval = 30 * time.Second
	longestInterval  = 15 * time.Minute
	// missedInterval is between two fetches that unknown key ids cause.
	missedInterval = 10 * time.Second
	// The pauses after failures begin between firstBackoff and twice that.
	firstBackoff   = time.Second / 2
	longestBackoff = time.Minute
	// jitter is the part of an interval that is left to chance, so that replicas do
	// not ask in step.
	jitter = 0.2
)

// unknownAge stands for a document that does not say how long it is fresh.
const unknownAge = time.Duration(-1)

// interval is how long to wait after a success; chance is in [0, 1).
func interval(maxAge time.Duration, chance float64) time.Duration {
	if maxAge == unknownAge {
		maxAge = usualInterval
	}
	d := min(max(maxAge, shortestInterval), longestInterval)
	return d - time.Duration(jitter*chance*float64(d))
}

// freshFor reads Cache-Control values (RFC 9111 §5.2.2): max-age, zero for
// no-cache and no-store, unknownAge when they say neither.
func freshFor(values []string) time.Duration {
	age := unknownAge
	for _, directive := range strings.Split(strings.Join(values, ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-cache", "no-store":
			return 0
		case "max-age":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err == nil && age == unknownAge {
				age = time.Duration(seconds) * time.Second
			}
		}
	}
	return age
}
