package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

const (
	// Clocks apart by more than the first refuse tokens now and then, by more
	// than the second most of the time.
	skewUnwise = 2 * time.Second
	skewBroken = time.Minute
)

// events inspects the provider's token and opens each reply stream once, all at
// the same time. Streams that have one remedy are one failure.
func (s Service) events(ctx context.Context, r *Report) {
	if s.Token == nil {
		return
	}
	need := events.ScopesFor(s.Replies...)
	newToken := fmt.Sprintf("issue a provider token with the scopes %s, and put it into BUS_API_TOKEN or --token-file", strings.Join(need, " "))
	token, err := s.Token()
	if err != nil {
		r.fail("provider token", err.Error(), newToken)
		return
	}
	inspectToken(r, token, need, newToken)
	attempts, failures := make([]events.Attempt, len(s.Replies)), make([]error, len(s.Replies))
	var all sync.WaitGroup
	for i, reply := range s.Replies {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, networkTimeout)
			defer cancel()
			attempts[i], failures[i] = events.Try(ctx, s.Events.URL, token, reply)
		})
	}
	all.Wait()
	closed := map[string][]string{} // why, by what to do about it
	for i, err := range failures {
		if err != nil {
			do := remedy(err, newToken)
			closed[do] = append(closed[do], strings.ReplaceAll(err.Error(), s.Replies[i], "it")+"\x00"+s.Replies[i])
		}
	}
	for _, do := range slices.Sorted(maps.Keys(closed)) {
		r.fail("events", byReason(closed[do]), do)
	}
	r.ok("events", fmt.Sprintf("%d reply streams open", len(attempts)))
	compareClocks(r, attempts)
}

// byReason lists streams that do not open, each with why, those of one reason
// together.
func byReason(failures []string) string {
	streams, reasons := map[string][]string{}, []string{}
	for _, failure := range failures {
		why, stream, _ := strings.Cut(failure, "\x00")
		if streams[why] == nil {
			reasons = append(reasons, why)
		}
		streams[why] = append(streams[why], stream)
	}
	for i, why := range reasons {
		reasons[i] = strings.Join(streams[why], ", ") + ": " + why
	}
	return strings.Join(reasons, "; ")
}

// inspectToken looks at the expiry and scopes of a token.
func inspectToken(r *Report, token secret.String, need []string, newToken string) {
	const name = "provider token"
	now := time.Now()
	expires, have, err := events.InspectToken(token, now)
	left := "it does not expire"
	switch {
	case errors.Is(err, events.ErrTokenExpired):
		r.fail(name, err.Error(), newToken)
	case err != nil:
		r.ok(name, err.Error())
		return
	case !expires.IsZero():
		left = "expires at " + expires.Format(time.RFC3339)
		if expires.Sub(now) < events.ExpirySoon {
			r.warn(name, left+", within a day", newToken)
		}
	}
	if missing := events.MissingScopes(have, need); len(missing) > 0 {
		r.fail(name, "it lacks the scopes "+strings.Join(missing, " "), newToken)
	}
	r.ok(name, left+"; has the scopes "+strings.Join(need, " "))
}

// remedy is what to do about a stream that does not open.
func remedy(err error, newToken string) string {
	var refused *events.RefusedError
	switch {
	case !errors.As(err, &refused):
		return "start the Events API, or correct --events-url; this machine must be able to connect to it"
	case refused.Status == http.StatusUnauthorized || refused.Status == http.StatusForbidden:
		return newToken
	case refused.Status < http.StatusInternalServerError:
		return "correct --events-url: it is the root of the Events API, or its collection ending in /api/v1/events"
	}
	return "look at the log of the Events API"
}

// compareClocks compares this machine's clock with the one in an answer of the
// API.
func compareClocks(r *Report, attempts []events.Attempt) {
	i := slices.IndexFunc(attempts, func(a events.Attempt) bool { return !a.Date.IsZero() })
	if i < 0 {
		return
	}
	skew := attempts[i].Skew().Abs()
	detail := fmt.Sprintf("%s apart from the Events API", skew.Round(time.Second))
	const do = "synchronise the clocks of both machines (timedatectl, chrony); tokens are refused by it"
	switch {
	case skew > skewBroken:
		r.fail("clock", detail, do)
	case skew > skewUnwise:
		r.warn("clock", detail, do+", or set --jwt-leeway")
	}
	r.ok("clock", "agrees with the Events API")
}
