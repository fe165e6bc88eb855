package platform_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

const jsonType = "application/json"

func errorType(t *testing.T, body string) string {
	t.Helper()
	var envelope struct {
		Error struct{ Type, Message string }
	}
	must(t, json.Unmarshal([]byte(body), &envelope))
	if envelope.Error.Message == "" {
		t.Fatalf("no error.message in %s", body)
	}
	return envelope.Error.Type
}

func TestPublishIsAcceptedBelowBothRoots(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	token := platform.ProviderToken(platform.DevSecret)
	for _, root := range []string{"", platform.LocalRoot} {
		status, body := call(t, http.MethodPost, e.URL()+root+"/api/v1/events", token, jsonType,
			`{"name":"bus.vm.status.request","correlationId":"c","payload":{"runtime":"default"}}`)
		var answer map[string]any
		must(t, json.Unmarshal([]byte(body), &answer))
		if id, _ := answer["id"].(string); id == "" {
			t.Fatalf("no id in %s", body)
		}
		delete(answer, "id")
		equal(t, "status", status, http.StatusAccepted)
		equal(t, "answer", answer, map[string]any{"accepted": true, "name": "bus.vm.status.request"})
	}
	equal(t, "accepted", e.Accepted(platform.StatusRequest), 2)
}

func TestPublishIsRefused(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	good := platform.ProviderToken(platform.DevSecret)
	mint := func(c platform.Claims) string { return platform.Token(platform.DevSecret, c) }
	revoked := platform.ProviderToken(platform.DevSecret)
	e.Revoke(revoked)
	const request = `{"name":"bus.vm.start.request","correlationId":"c","payload":{}}`
	huge := `{"name":"example.ping","payload":"` + strings.Repeat("x", 1<<20) + `"}`

	for name, c := range map[string]struct {
		method, path, token, kind, body string
		status                          int
		errorType                       string
	}{
		"no token":            {"POST", "", "", jsonType, request, 401, "invalid_auth"},
		"not a token":         {"POST", "", "nonsense", jsonType, request, 401, "invalid_auth"},
		"another secret":      {"POST", "", platform.ProviderToken("another"), jsonType, request, 401, "invalid_auth"},
		"expired":             {"POST", "", mint(platform.Claims{Scope: "vm:write", TTL: -time.Minute}), jsonType, request, 401, "invalid_auth"},
		"another audience":    {"POST", "", mint(platform.Claims{Scope: "vm:write", Audience: "ai.hg.fi/auth"}), jsonType, request, 401, "invalid_auth"},
		"revoked":             {"POST", "", revoked, jsonType, request, 401, "invalid_auth"},
		"scope missing":       {"POST", "", mint(platform.Claims{Scope: "vm:read"}), jsonType, request, 403, "forbidden"},
		"no scope at all":     {"POST", "", mint(platform.Claims{}), jsonType, request, 403, "forbidden"},
		"scope is a prefix":   {"POST", "", mint(platform.Claims{Scope: "vm:writer"}), jsonType, request, 403, "forbidden"},
		"unknown bus name":    {"POST", "", good, jsonType, `{"name":"bus.vm.delete.request","payload":{}}`, 403, "forbidden"},
		"unprotected name":    {"POST", "", good, jsonType, `{"name":"example.ping","payload":{}}`, 403, "forbidden"},
		"no JSON":             {"POST", "", good, jsonType, `{`, 400, "bad_request"},
		"two documents":       {"POST", "", good, jsonType, request + request, 400, "bad_request"},
		"an array":            {"POST", "", good, jsonType, `[]`, 400, "bad_request"},
		"no name":             {"POST", "", good, jsonType, `{"payload":{}}`, 400, "bad_request"},
		"no payload":          {"POST", "", good, jsonType, `{"name":"bus.vm.start.request"}`, 400, "bad_request"},
		"wildcard":            {"POST", "", good, jsonType, `{"name":"bus.vm.*","payload":{}}`, 400, "bad_request"},
		"upper case":          {"POST", "", good, jsonType, `{"name":"bus.VM.start.request","payload":{}}`, 400, "bad_request"},
		"ids differ":          {"POST", "", good, jsonType, `{"name":"bus.vm.start.request","correlationId":"a","correlation_id":"b","payload":{}}`, 400, "bad_request"},
		"no content type":     {"POST", "", good, "", request, 400, "bad_request"},
		"too large":           {"POST", "", good, jsonType, huge, 413, "request_body_too_large"},
		"GET":                 {"GET", "", good, "", "", 405, "method_not_allowed"},
		"POST to the stream":  {"POST", "/stream", good, jsonType, request, 405, "method_not_allowed"},
		"another path":        {"POST", "/more", good, jsonType, request, 404, "not_found"},
		"collection repeated": {"POST", "/api/v1/events", good, jsonType, request, 404, "not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := call(t, c.method, e.URL()+"/api/v1/events"+c.path, c.token, c.kind, c.body)
			equal(t, "status", status, c.status)
			equal(t, "error.type", errorType(t, body), c.errorType)
		})
	}
	equal(t, "accepted", e.Accepted(platform.StartRequest), 0)
}

// Each family needs its own scope and no other, for publishing and listening,
// for requests and replies.
func TestScopesByEventName(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	scopes := strings.Split(platform.ProviderScope, " ")
	needed := map[string]string{
		platform.StatusRequest:      "vm:read",
		platform.StartRequest:       "vm:write",
		platform.StopRequest:        "vm:write",
		platform.UsageRequest:       "usage:write",
		platform.EntitlementRequest: "billing:entitlement:check",
	}
	for request, need := range needed {
		for _, name := range []string{request, platform.ReplyName(request)} {
			for _, scope := range scopes {
				token := platform.Token(platform.DevSecret, platform.Claims{Scope: scope})
				wantPublish, wantListen := http.StatusForbidden, http.StatusForbidden
				if scope == need {
					wantPublish, wantListen = http.StatusAccepted, http.StatusOK
				}
				got, _ := call(t, http.MethodPost, e.URL()+"/api/v1/events", token, jsonType,
					`{"name":"`+name+`","correlationId":"c","payload":{}}`)
				equal(t, "publish "+name+" with "+scope, got, wantPublish)
				got, _ = call(t, http.MethodGet, e.URL()+"/api/v1/events/stream?follow=false&name="+name, token, "", "")
				equal(t, "listen to "+name+" with "+scope, got, wantListen)
			}
		}
	}
}

func TestPublishedTellsAcceptedAndRefused(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	id := send(t, pinger(t, e), ping, "one", map[string]int{"n": 1})
	if _, err := client(t, e, platform.Claims{Subject: "other"}).Publish(within(t),
		platform.Message{Name: ping, CorrelationID: "two", Payload: 2}); err == nil {
		t.Fatal("published without a scope")
	}
	got := e.Published(ping)
	for i := range got {
		if got[i].At.IsZero() {
			t.Fatal("no time")
		}
		got[i].At = time.Time{}
	}
	equal(t, "published", got, []platform.Published{
		{EventID: id, Name: ping, CorrelationID: "one", Account: platform.Identity, Payload: json.RawMessage(`{"n":1}`), Status: 202},
		{Name: ping, CorrelationID: "two", Account: "other", Payload: json.RawMessage(`2`), Status: 403},
	})
}

func TestOlderSpellingOfTheCorrelationID(t *testing.T) {
	e := startEvents(t, platform.EventsConfig{})
	token := platform.ProviderToken(platform.DevSecret)
	for _, body := range []string{
		`{"name":"bus.vm.stop.request","correlation_id":"old","payload":{}}`,
		`{"name":"bus.vm.stop.request","correlation_id":"old","correlationId":"old","payload":{},"delivery":"broadcast"}`,
	} {
		status, _ := call(t, http.MethodPost, e.URL()+"/api/v1/events", token, jsonType, body)
		equal(t, "status", status, http.StatusAccepted)
	}
	got := listen(t, e, "name=bus.vm.stop.request&replay=true&follow=false").rest(t)
	equal(t, "correlation ids", got, []string{"old", "old"})
}
