package doctor

import (
	"context"
	"errors"
	"fmt"
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

const newToken = "issue a provider token with the scopes %s, and put it into BUS_API_TOKEN or --token-file"

func (c Config) providerToken(context.Context) (found []Check) {
	const name = "provider token"
	if c.Events == nil {
		return nil
	}
	need := events.ScopesFor(c.Events.Replies...)
	do := fmt.Sprintf(newToken, strings.Join(need, " "))
	token, err := c.Events.Token()
	if err != nil {
		return []Check{{name, Failed, err.Error(), do}}
	}
	now := c.Now()
	expires, have, err := events.InspectToken(token, now)
	left := "it does not expire"
	switch {
	case errors.Is(err, events.ErrTokenExpired):
		found = append(found, Check{name, Failed, err.Error(), do})
	case err != nil:
		return ok(name, err.Error())
	case expires.IsZero():
	default:
		left = "expires at " + expires.Format(time.RFC3339)
		if expires.Sub(now) < events.ExpirySoon {
			found = append(found, Check{name, Warning, left + ", within a day", do})
		}
	}
	if missing := events.MissingScopes(have, need); len(missing) > 0 {
		found = append(found, Check{name, Failed, "it lacks the scopes " + strings.Join(missing, " "), do})
	}
	return orOK(found, name, left+"; has the scopes "+strings.Join(need, " "))
}

// events opens each reply stream once, all at the same time.
func (c Config) events(ctx context.Context) []Check {
	if c.Events == nil {
		return nil
	}
	token, err := c.Events.Token()
	if err != nil {
		return nil // said already
	}
	attempts := make([]attempt, len(c.Events.Replies))
	var all sync.WaitGroup
	for i, reply := range c.Events.Replies {
		all.Go(func() { attempts[i] = c.try(ctx, reply, token) })
	}
	all.Wait()
	var found []Check
	for _, a := range attempts {
		if a.err != nil {
			found = append(found, Check{"events", Failed, a.reply + ": " + a.err.Error(), a.remedy()})
		}
	}
	if len(found) == len(attempts) && alike(attempts) {
		found = []Check{{"events", Failed, "no stream opens: " + attempts[0].err.Error(), attempts[0].remedy()}}
	}
	found = orOK(found, "events", fmt.Sprintf("%d reply streams open", len(attempts)))
	return append(found, clock(attempts)...)
}

// attempt is a reply stream that was tried.
type attempt struct {
	reply string
	events.Attempt
	err error
}

func (c Config) try(ctx context.Context, reply string, token secret.String) attempt {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	got, err := events.Try(ctx, c.Events.URL, token, reply)
	return attempt{reply, got, err}
}

// alike reports failures that have one remedy. Scopes are told stream by stream.
func alike(attempts []attempt) bool {
	return !slices.ContainsFunc(attempts, func(a attempt) bool {
		return a.aboutToken() || a.remedy() != attempts[0].remedy()
	})
}

// aboutToken reports a stream that the token does not open.
func (a attempt) aboutToken() bool {
	var refused *events.RefusedError
	return errors.As(a.err, &refused) && (refused.Status == http.StatusUnauthorized || refused.Status == http.StatusForbidden)
}

func (a attempt) remedy() string {
	var refused *events.RefusedError
	if !errors.As(a.err, &refused) {
		return "start the Events API, or correct --events-url; this machine must be able to connect to it"
	}
	switch {
	case a.aboutToken():
		return fmt.Sprintf(newToken, strings.Join(events.ScopesFor(a.reply), " "))
	case refused.Status < http.StatusInternalServerError:
		return "correct --events-url: it is the root of the Events API, or its collection ending in /api/v1/events"
	}
	return "look at the log of the Events API"
}

// clock compares this machine's clock with the one in an answer of the API.
func clock(attempts []attempt) []Check {
	const name = "clock"
	for _, a := range attempts {
		if a.Date.IsZero() {
			continue
		}
		skew := a.Skew()
		detail := fmt.Sprintf("%s apart from the Events API", skew.Abs().Round(time.Second))
		const do = "synchronise the clocks of both machines (timedatectl, chrony); tokens are refused by it"
		switch {
		case skew.Abs() > skewBroken:
			return []Check{{name, Failed, detail, do}}
		case skew.Abs() > skewUnwise:
			return []Check{{name, Warning, detail, do + ", or set --jwt-leeway"}}
		}
		return ok(name, "agrees with the Events API")
	}
	return nil
}
