package platform_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

func TestStreamCarriesTheEnvelope(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	r := listen(t, e, "name="+ping+"&delivery=broadcast")
	id, err := pinger(t, e).Publish(within(t), platform.Message{
		Name: ping, CorrelationID: "c", Payload: json.RawMessage("{\n \"n\": 1 }"), Error: "it broke",
	})
	must(t, err)
	line := r.next(t)
	if strings.Count(line, "\n") != 1 {
		t.Fatalf("not one line: %q", line)
	}
	var got map[string]any
	must(t, json.Unmarshal([]byte(line), &got))
	created, _ := got["createdAt"].(string)
	if _, err := time.Parse(time.RFC3339, created); err != nil {
		t.Fatal(err)
	}
	delete(got, "createdAt")
	equal(t, "envelope", got, map[string]any{
		"id": id, "name": ping, "correlationId": "c", "account": platform.Identity,
		"payload": map[string]any{"n": 1.0}, "error": "it broke",
	})
}

func TestListenIsRefused(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	token := platform.Token(platform.DevSecret, platform.Claims{Scope: pingScope})
	for query, want := range map[string]int{
		"":                             400,
		"name=bus.vm.*":                400,
		"name=*":                       400,
		"name=bus.vm.%3E":              400,
		"name=" + ping + "&name=a.b":   400,
		"name=example":                 400,
		"name=" + ping + "&delivery=x": 400,
		"name=" + ping + "&replay=x":   400,
		"name=" + ping + "&follow=2":   400,
		"name=" + ping + "&delivery=unicast&group=a%2Fb":            400,
		"name=" + ping + "&delivery=unicast&consumer=a%20b":         400,
		"name=bus.vm.status.response":                               403,
		"name=bus.other.response":                                   403,
		"name=" + ping + "&delivery=unicast&group=a&follow=false":   200,
		"name=" + ping + "&delivery=broadcast&replay=1&follow=0":    200,
		"name=" + ping + "&follow=false&an-unknown-parameter=value": 200,
	} {
		status, body := call(t, http.MethodGet, e.URL()+"/api/v1/events/stream?"+query, token, "", "")
		equal(t, query, status, want)
		if want != http.StatusOK {
			errorType(t, body)
		}
	}
	status, body := call(t, http.MethodGet, e.URL()+"/api/v1/events/stream?name="+ping, "", "", "")
	equal(t, "without a token", status, http.StatusUnauthorized)
	equal(t, "error.type", errorType(t, body), "invalid_auth")
}

func TestBroadcastReachesEveryListener(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	first, second := listen(t, e, "name="+ping), listen(t, e, "name="+ping)
	other := listen(t, e, "name=example.other&replay=true")
	c := pinger(t, e)
	for _, id := range []string{"a", "b", "c"} {
		send(t, c, ping, id, 0)
	}
	for _, r := range []*reader{first, second} {
		equal(t, "heard", r.correlations(t, 3), []string{"a", "b", "c"})
	}
	must(t, e.Stop())
	equal(t, "heard under another name", other.rest(t), []string{})
}

func TestUnicastTakesTurnsInAGroup(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	const unicast = "name=" + ping + "&delivery=unicast"
	a1, a2 := listen(t, e, unicast+"&group=a"), listen(t, e, unicast+"&group=a")
	b := listen(t, e, unicast+"&group=b")
	all := listen(t, e, "name="+ping)
	c := pinger(t, e)
	for _, id := range []string{"1", "2", "3", "4"} {
		send(t, c, ping, id, 0)
	}
	equal(t, "first of a", a1.correlations(t, 2), []string{"1", "3"})
	equal(t, "second of a", a2.correlations(t, 2), []string{"2", "4"})
	equal(t, "b", b.correlations(t, 4), []string{"1", "2", "3", "4"})
	equal(t, "broadcast", all.correlations(t, 4), []string{"1", "2", "3", "4"})
	must(t, e.Stop())
	equal(t, "more for a", append(a1.rest(t), a2.rest(t)...), []string{})
}

func TestReplayComesFirstThenFollows(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	c := pinger(t, e)
	send(t, c, ping, "old", 0)
	plain := listen(t, e, "name="+ping)
	replayed := listen(t, e, "name="+ping+"&replay=true")
	once := listen(t, e, "name="+ping+"&replay=true&follow=false")
	nothing := listen(t, e, "name="+ping+"&follow=false")
	equal(t, "one shot", once.rest(t), []string{"old"})
	must(t, once.end(t))
	equal(t, "neither replay nor follow", nothing.rest(t), []string{})
	send(t, c, ping, "new", 0)
	equal(t, "replayed", replayed.correlations(t, 2), []string{"old", "new"})
	equal(t, "plain", plain.correlations(t, 1), []string{"new"})
}

func TestHistoryIsBounded(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{History: 3})
	c := pinger(t, e)
	for i := range 10 {
		send(t, c, ping, fmt.Sprint(i), 0)
		got := listen(t, e, "name="+ping+"&replay=true&follow=false").rest(t)
		var want []string
		for k := max(0, i-2); k <= i; k++ {
			want = append(want, fmt.Sprint(k))
		}
		equal(t, "replay", got, want)
	}
}

// A group that comes back with replay finds what it missed, and nothing twice.
func TestGroupRemembersHowFarItGot(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	c := pinger(t, e)
	const query = "name=" + ping + "&delivery=unicast&group=g&replay=true"
	send(t, c, ping, "before", 0)
	r := listen(t, e, query)
	send(t, c, ping, "during", 0)
	equal(t, "first life", r.correlations(t, 2), []string{"before", "during"})
	r.cancel()
	must(t, e.WaitGone(within(t), ping))
	send(t, c, ping, "missed", 0)
	back := listen(t, e, query)
	send(t, c, ping, "after", 0)
	equal(t, "second life", back.correlations(t, 2), []string{"missed", "after"})

	back.cancel()
	must(t, e.WaitGone(within(t), ping))
	send(t, c, ping, "skipped", 0)
	plain := listen(t, e, "name="+ping+"&delivery=unicast&group=g")
	must(t, e.WaitListeners(within(t), ping, 1))
	again := listen(t, e, query)
	send(t, c, ping, "x", 0)
	send(t, c, ping, "y", 0)
	got := append(plain.correlations(t, 1), again.correlations(t, 1)...)
	slices.Sort(got)
	equal(t, "without replay, the past is past", got, []string{"x", "y"})
}

func TestCallersSeeTheirOwnIdentityOnly(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	const query = "name=" + ping + "&replay=true"
	mine := listen(t, e, query)
	theirs := listenAs(t, e, platform.Claims{Subject: "them", Scope: pingScope}, query)
	stranger := client(t, e, platform.Claims{Subject: "them", Scope: pingScope})
	send(t, pinger(t, e), ping, "mine", 0)
	send(t, stranger, ping, "theirs", map[string]string{"account": platform.Identity})
	equal(t, "mine", mine.correlations(t, 1), []string{"mine"})
	equal(t, "theirs", theirs.correlations(t, 1), []string{"theirs"})
	late := listenAs(t, e, platform.Claims{Subject: "them", Scope: pingScope}, query+"&follow=false")
	equal(t, "their history", late.rest(t), []string{"theirs"})
	must(t, e.Stop())
	equal(t, "mine and more", mine.rest(t), []string{})
}

// Opening with replay while events stream in loses nothing and repeats nothing.
func TestReplayMeetsLiveWithoutSeam(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	const events = 500
	done := make(chan error, 1)
	c, ctx := pinger(t, e), within(t)
	go func() {
		for i := range events {
			if _, err := c.Publish(ctx, platform.Message{Name: ping, CorrelationID: fmt.Sprint(i), Payload: 0}); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	var want []string
	for i := range events {
		want = append(want, fmt.Sprint(i))
	}
	var readers []*reader
	for n := range 10 {
		must(t, e.WaitAccepted(within(t), ping, n*events/10))
		readers = append(readers, listen(t, e, "name="+ping+"&replay=true"))
	}
	for _, r := range readers {
		equal(t, "events", r.correlations(t, events), want)
	}
	must(t, <-done)
}
