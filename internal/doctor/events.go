package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/events"
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
	_, level, finding := events.InspectToken(token, need, time.Now())
	switch level {
	case slog.LevelError:
		r.fail("provider token", finding, newToken)
	case slog.LevelWarn:
		r.warn("provider token", finding, newToken)
	default:
		r.ok("provider token", finding)
	}
	source, unusable := events.StaticToken(token)
	client, err := events.New(events.Config{URL: s.Events.URL, Token: source, Replies: s.Replies, Timeout: networkTimeout})
	if err := cmp.Or(unusable, err); err != nil {
		r.fail("events", err.Error(), newToken)
		return
	}
	ahead, failures := make([]*time.Duration, len(s.Replies)), make([]error, len(s.Replies))
	var all sync.WaitGroup
	for i, reply := range s.Replies {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, networkTimeout)
			defer cancel()
			ahead[i], failures[i] = client.Try(ctx, reply)
		})
	}
	all.Wait()
	closed, why := map[string][]string{}, map[string]string{} // streams, and the reason of one, by what to do about them
	for i, err := range failures {
		if err != nil {
			do := remedy(err, newToken)
			closed[do] = append(closed[do], s.Replies[i])
			why[do] = strings.ReplaceAll(events.Clean(err.Error()), s.Replies[i], "it")
		}
	}
	for _, do := range slices.Sorted(maps.Keys(closed)) {
		if level != slog.LevelError || do != newToken { // one cause, which has been told
			r.fail("events", strings.Join(closed[do], ", ")+": "+why[do], do)
		}
	}
	if ahead := cmp.Or(ahead...); ahead != nil {
		compareClocks(r, ahead.Abs())
	}
	if len(closed) > 0 {
		return
	}
	r.ok("events", fmt.Sprintf("%d reply streams open", len(s.Replies)))
	if s.AskStatus != nil {
		s.worker(ctx, r, client, newToken)
	}
}

// worker asks the VM worker for the status, through Events and back, and says
// which of the two does not answer.
func (s Service) worker(ctx context.Context, r *Report, client *events.Client, newToken string) {
	const name, did = "vm worker", "a worker answered a status request after "
	limit := min(s.Timeout, networkTimeout)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- client.Run(running) }()
	err := client.Connected(ctx, events.ReplyName(events.StatusRequest))
	began := time.Now()
	var state string
	if err == nil {
		state, err = s.AskStatus(ctx, client)
	}
	took := time.Since(began).Round(10 * time.Microsecond).String()
	stop()
	<-ended // its error is that of the request as well
	_, answered := errors.AsType[*events.RemoteError](err)
	switch {
	case err == nil:
		r.ok(name, "a status request came back through Events in "+took+": "+state)
	case answered:
		r.fail(name, did+took+": "+err.Error(), "look at the log of the worker (the integration that answers for the machine)")
	case errors.Is(err, events.ErrMalformed):
		r.fail(name, did+took+": "+err.Error(), "use releases of the worker and of this service that fit each other")
	case errors.Is(err, events.ErrNoReply) && !errors.Is(err, events.ErrUnconfirmed):
		r.fail(name, "Events took a status request, and no worker answered it within "+limit.String(),
			"start the VM worker, with a token of the same identity (sub) as the provider token: an event reaches only the identity that published it; look at its log if it runs")
	default:
		r.fail(name, "Events did not take a status request: "+err.Error()+", after "+took, remedy(err, newToken))
	}
}

// remedy is what to do about a stream that does not open.
func remedy(err error, newToken string) string {
	refused, answered := errors.AsType[*events.RefusedError](err)
	_, uncertified := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case uncertified:
		return "renew the certificate of the Events API, or let this machine trust who issued it (SSL_CERT_FILE, ca-certificates); look at the clock if it is valid"
	case !answered:
		return "start the Events API, or correct --events-url; this machine must be able to connect to it"
	case refused.Status == http.StatusUnauthorized || refused.Status == http.StatusForbidden:
		return newToken
	case refused.Status < http.StatusInternalServerError:
		return "correct --events-url: it is the root of the Events API, or its collection ending in /api/v1/events"
	}
	return "look at the log of the Events API"
}

// compareClocks judges how far this machine's clock is from that of the API. A
// little refuses tokens now and then, a minute most of the time.
func compareClocks(r *Report, skew time.Duration) {
	detail := fmt.Sprintf("%s apart from the Events API", skew.Round(time.Second))
	const do = "synchronise the clocks of both machines (timedatectl, chrony); tokens are refused by it"
	switch {
	case skew > time.Minute:
		r.fail("clock", detail, do)
	case skew > 2*time.Second:
		r.warn("clock", detail, do+", or set --jwt-leeway")
	}
	r.ok("clock", "agrees with the Events API")
}
