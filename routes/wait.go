package routes

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/middleware"
)

// Wait is what callers wait with. All of it but Over is required.
type Wait struct {
	// Superseded reports, at once, whether a write of the other action was accepted after
	// r, as it is on record, and was requested later; or, of other requesters, since then.
	Superseded func(r lifecycle.Receipt, since time.Time) bool
	// Estimate returns at once how long the start under way still takes, if that is known.
	Estimate func() (left time.Duration, known bool)
	Max      time.Duration   // the longest wait; callers who ask for more get that
	MaxAge   time.Duration   // of the last status that a wait has seen, where it ends without a later one
	Waiters  int             // how many may wait at once, shared out among their subjects
	Over     <-chan struct{} // closed when the server begins to end: then every wait does
}

const (
	failedAfter  = 10 * time.Second // how long after the acceptance a failed state may be from before it
	detailsEvery = time.Second      // how often a status whose details alone differ ends a wait
	lastLook     = 2 * time.Second  // bounds reading the status again when a wait ends
	unknownLeft  = 5 * time.Second  // Retry-After without an estimate
)

// waits is a Wait on runtime, with the places of the callers that wait.
type waits struct {
	Wait
	runtime backend.Backend
	places  *middleware.Limit
}

// wait calls do, if the caller prefers to wait and there is a place, and reports whether
// it did. The wait ends at end at the latest, which is not after the token expires.
func (w *waits) wait(c *fiber.Ctx, do func(end time.Time)) bool {
	seconds, asked := middleware.PreferWait(c)
	if !asked {
		return false
	}
	caller := middleware.CallerIdentity(c)
	give := w.places.Take(caller.Subject, true)
	if give == nil {
		return false
	}
	defer give()
	seconds = min(seconds, int(w.Max/time.Second))
	end := c.Context().Time().Add(time.Duration(seconds) * time.Second)
	if expires := caller.Expires(); expires.Before(end) {
		end = expires
	}
	middleware.Waits(c)
	do(end)
	c.Context().Response.Header.Set("Preference-Applied", "wait="+strconv.Itoa(seconds))
	return true
}

// follow calls enough with each status that is asked for from now on, or after the latest
// accepted write, and with the last of them again from time to time, or with nil without
// one, until it returns true. It returns false at the end.
func (w *waits) follow(end time.Time, enough func(*backend.Seen) bool) bool {
	defer w.runtime.Follow()()
	over, again := time.After(time.Until(end)), time.Tick(detailsEvery)
	since := w.runtime.Latest().Since
	for {
		latest := w.runtime.Latest()
		seen := latest.Seen
		if seen != nil && !seen.AskedAt.After(since) {
			seen = nil
		}
		if enough(seen) {
			return true
		}
		select {
		case <-latest.Changed:
		case <-again:
		case <-w.Over:
			return false
		case <-over:
			return false
		}
	}
}

// status waits until the status is another one than the caller names, or has settled,
// and returns the one to be shown.
func (w *waits) status(c *fiber.Ctx, first *backend.Seen) (*backend.Seen, error) {
	last, met := first, false
	waited := w.wait(c, func(end time.Time) {
		known := c.Context().Request.Header.PeekAll(fiber.HeaderIfNoneMatch) // until the next PeekAll
		if met = len(known) == 0 && first.Settled || len(known) > 0 && !matches(known, first.ETag); met {
			return
		}
		calm := time.Now().Add(detailsEvery)
		met = w.follow(end, func(seen *backend.Seen) bool {
			if seen == nil || seen.AskedAt.Before(first.AskedAt) {
				return false
			}
			last = seen
			if len(known) == 0 {
				return seen.Settled
			}
			return !matches(known, seen.ETag) && (seen.State != first.State || !time.Now().Before(calm))
		})
	})
	if !waited || met {
		return last, nil
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), lastLook)
	defer cancel()
	seen, err := w.runtime.See(ctx)
	if err != nil && time.Now().Round(0).Sub(last.AskedAt.Round(0)) < w.MaxAge { // a write was accepted since the read began
		return last, nil
	}
	return seen, err
}

// accepted answers a write whose operation r was accepted: at once, or, for a caller who
// prefers to wait, when its target state is reached. Own says that this process has asked
// the runtime; otherwise only a status that is asked for from now on counts.
func (w *writes) accepted(c *fiber.Ctx, r lifecycle.Receipt, own bool) error {
	at := time.Now()
	middleware.SetOutcome(c, lifecycle.Accepted)
	var reached *backend.Seen
	var failure error
	if w.waits != nil {
		w.waits.wait(c, func(end time.Time) { reached, failure = w.reached(c, r, at, own, end) })
	}
	switch {
	case failure != nil:
		return failure
	case reached != nil:
		document := []byte(`{"accepted":true,"action":"` + w.action + `",`)
		return sendJSON(c, fiber.StatusOK, append(document, reached.Document[1:]...))
	case w.waits != nil:
		w.waits.retryAfter(c)
	}
	return sendJSON(c, fiber.StatusAccepted, []byte(`{"accepted":true,"action":"`+w.action+`"}`))
}

// reached waits until the target state of an accepted operation is reached; neither
// that nor an error is returned when the time ends first.
func (w *writes) reached(c *fiber.Ctx, r lifecycle.Receipt, at time.Time, own bool, end time.Time) (reached *backend.Seen, failure error) {
	other := false
	look := func(seen *backend.Seen) bool {
		switch {
		case seen == nil, !own && !seen.AskedAt.After(at):
		case seen.State == w.action.Target():
			reached = seen
			return true
		case seen.State != "failed" && seen.State != "error":
			other = true
		case other || seen.AskedAt.Sub(at) >= failedAfter:
			failure = middleware.NewError(middleware.CodeRuntimeFailed,
				fmt.Sprintf("The runtime accepted the %s, and has failed since: its state is %s.", w.action, seen.State))
			return true
		}
		superseded := w.waits.Superseded(r, at)
		if superseded {
			failure = middleware.NewError(middleware.CodeSuperseded,
				fmt.Sprintf("The runtime accepted the %s, and a %s after it.", w.action, w.action.Opposite()))
		}
		return superseded
	}
	if !w.waits.follow(end, look) {
		look(nil)
	}
	return reached, failure
}

// retryAfter says when to ask again while the runtime moves.
func (w *waits) retryAfter(c *fiber.Ctx) {
	left := unknownLeft
	if estimated, known := w.Estimate(); known {
		left = max(estimated, time.Second)
	}
	c.Context().Response.Header.Set(fiber.HeaderRetryAfter, strconv.Itoa(int((left+time.Second-1)/time.Second)))
}
