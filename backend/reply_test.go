package backend

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
)

func TestDecodeStatus(t *testing.T) {
	f := func(payload, state, provider, details string) {
		t.Helper()
		want := snapshot.Status{State: state, Provider: provider}
		if details != "" {
			want.Details = json.RawMessage(details)
		}
		got, err := decodeStatus(events.Envelope{Payload: []byte(payload)})
		assert.NoError(t, err, payload)
		assert.Equal(t, want, got, payload)
	}
	f(`{"state":"ready"}`, "ready", "events", "")
	f(`{"state":"ready","provider":"upcloud","details":{ "a" : 1 }}`, "ready", "upcloud", `{"a":1}`)
	f(`{"status":{"state":"ready","provider":"upcloud","details":{}}}`, "ready", "upcloud", `{}`)
	f(`{"state":"ready","status":"ok"}`, "ready", "events", "")
	f(`{"state":"ready","status":{"state":"stopped"}}`, "ready", "events", "")
	f(`{"state":"","status":{"state":"stopped"}}`, "stopped", "events", "")
	f(`{"state":7,"status":{"state":"stopped"}}`, "stopped", "events", "")
	f(`{"state":"ready","provider":7,"details":"text"}`, "ready", "events", "")
	f(`{"state":"ready","provider":""}`, "ready", "events", "")
	f(`{"state":"ready","x":1,"x":2,"State":"stopped"}`, "ready", "events", "")
	f(`{"state":"`+strings.Repeat("é", 256)+`"}`, strings.Repeat("é", 256), "events", "")

	for _, payload := range []string{
		``, `[]`, `{}`, `{"state":""}`, `{"state":7}`, `{"ſtate":"ready"}`, `{"STATE":"ready"}`, `{"state":"a","state":"a"}`,
		`{"status":{"state":"a","state":"a"}}`, `{"status":{"state":"a"},"status":{"state":"a"}}`, `{"status":"ready"}`,
		`{"state":"` + strings.Repeat("é", 257) + `"}`, `{"state":"ready","provider":"` + strings.Repeat("é", 257) + `"}`, `{"state":"\ud800"}`, "{\"state\":\"\xff\"}",
		`{"state":"ready","details":{"a":1e999}}`, `{"state":"ready","details":{"a":"\ud800"}}`,
	} {
		_, err := decodeStatus(events.Envelope{Payload: []byte(payload)})
		assert.ErrorIs(t, err, events.ErrMalformed, payload)
	}
}

func TestDecodeWrite(t *testing.T) {
	for payload, want := range map[string]string{
		`{"accepted":true}`:                               "yes",
		`{"accepted":true,"status":"starting"}`:           "yes",
		`{"accepted":true,"state":7,"message":7}`:         "yes",
		`{"state":"ready","status":"ok"}`:                 "yes",
		`{"status":{"state":"starting"}}`:                 "yes",
		`{"accepted":"true","state":"starting"}`:          "yes",
		`{"accepted":true,"ACCEPTED":false}`:              "yes",
		`{"accepted":false}`:                              "no",
		`{"accepted":false,"Accepted":true}`:              "no",
		`{"accepted":false,"state":"ready"}`:              "no",
		`{"accepted":false,"message":"No room."}`:         "No room.",
		`{"accepted":true,"error":"No room."}`:            "remote",
		`{"error":{"type":"no_capacity","message":"No"}}`: "remote",
		``:                                   "malformed",
		`{}`:                                 "malformed",
		`{"accepted":"true"}`:                "malformed",
		`{"ACCEPTED":true}`:                  "malformed",
		`{"accepted":false,"accepted":true}`: "malformed",
		`{"accepted":true,"accepted":true}`:  "malformed",
		`{"accepted":true,"error":"","error":""}`:   "malformed",
		`{"accepted":true,"state":"a","state":"b"}`: "malformed",
		`{"status":"starting"}`:                     "malformed",
	} {
		err := decodeWrite(events.Envelope{Payload: []byte(payload)})
		var no *Error
		var remote *events.RemoteError
		got := "yes"
		switch {
		case errors.As(err, &no) && no.Message == "The runtime did not accept the operation.":
			got = "no"
		case errors.As(err, &no):
			got = no.Message
		case errors.As(err, &remote):
			got = "remote"
		case errors.Is(err, events.ErrMalformed):
			got = "malformed"
		case err != nil:
			got = err.Error()
		}
		assert.Equal(t, want, got, payload)
	}
}
