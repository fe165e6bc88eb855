package middleware

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
	"github.com/valyala/fasthttp"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/tests/wire"
)

// logTo writes a line a record, without what differs between two runs.
func logTo(b *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.TimeKey:
				return slog.Attr{}
			case "request_id":
				return slog.String(a.Key, wire.Anonymous(a.Value.String()))
			case "stack":
				return slog.Bool(a.Key, strings.Contains(a.Value.String(), "errors_test.go"))
			}
			return a
		},
	}))
}

const internalLine = `level=ERROR msg="request failed" request_id=<id> route=/ status=500 type=internal_error cause=%s do="report this as a bug; the process goes on"`

func TestErrors(t *testing.T) {
	internal := refused("500 Internal Server Error", "", "internal_error", "The server failed to answer this request.")
	notFound := NewError(CodeNotFound, "Not here.")
	for _, c := range []struct {
		name    string
		handler fiber.Handler
		want    string
		log     string // one line, or none
	}{
		{"none", func(c *fiber.Ctx) error { return c.SendString("passed") }, passed, ""},
		{"of this API", func(*fiber.Ctx) error { return notFound },
			refused("404 Not Found", "", "not_found", "Not here."), ""},
		{"wrapped", func(*fiber.Ctx) error { return fmt.Errorf("private: %w", notFound) },
			refused("404 Not Found", "", "not_found", "Not here."), ""},
		{"with a cause", func(*fiber.Ctx) error {
			return Unavailable(1500*time.Millisecond, "Come back.", errors.New("dial failed"))
		}, refused("503 Service Unavailable", "Retry-After: 2\n", "backend_unavailable", "Come back."),
			`level=ERROR msg="request failed" request_id=<id> route=/ status=503 type=backend_unavailable cause="dial failed" do="look at what the cause names: the Events API, the provider token, the integration that did not answer, or the operations store; doctor says what is missing"`},
		{"of an integration", func(*fiber.Ctx) error {
			return &lifecycle.Error{Kind: lifecycle.Rejection, Type: "no_capacity", Message: "No room.", Cause: errors.New("reply 7")}
		},
			refused("502 Bad Gateway", "", "no_capacity", "No room."),
			`level=ERROR msg="request failed" request_id=<id> route=/ status=502 type=no_capacity cause="reply 7" do="look at the integration that answered"`},
		{"of an integration, in words of this gateway", func(*fiber.Ctx) error {
			return &lifecycle.Error{Kind: lifecycle.Rejection, Type: CodeUnavailable.Type, Message: "No host.", Cause: errors.New("reply 7")}
		}, refused("502 Bad Gateway", "", "backend_unavailable", "No host."),
			`level=ERROR msg="request failed" request_id=<id> route=/ status=502 type=backend_unavailable cause="reply 7" do="look at the integration that answered"`},
		{"malformed", func(*fiber.Ctx) error { return &lifecycle.Error{Kind: lifecycle.Malformed, Message: "Malformed."} },
			refused("502 Bad Gateway", "", "bad_gateway", "Malformed."), ""},
		{"of a backend that is away", func(*fiber.Ctx) error {
			return fmt.Errorf("x: %w", &lifecycle.Error{Kind: lifecycle.Unavailable, Message: "Away."})
		},
			refused("503 Service Unavailable", "Retry-After: 5\n", "backend_unavailable", "Away."), ""},
		{"of an unknown kind", func(*fiber.Ctx) error { return &lifecycle.Error{Kind: "x", Message: "m"} }, internal, fmt.Sprintf(internalLine, `"x: m"`)},
		{"any other", func(*fiber.Ctx) error { return errors.New("disk") }, internal, fmt.Sprintf(internalLine, "disk")},
		{"Fiber's", func(*fiber.Ctx) error { return fiber.NewError(418, "teapot") }, internal, fmt.Sprintf(internalLine, "teapot")},
		{"without a code", func(*fiber.Ctx) error { return &Error{Type: "x", Message: "m"} }, refused("500 Internal Server Error", "", "x", "m"), ""},
		{"panic", func(*fiber.Ctx) error { panic("boom") }, internal, fmt.Sprintf(internalLine, `"panic: boom"`) + " stack=true"},
		{"panic of an error", func(*fiber.Ctx) error { panic(errors.New("boom")) }, internal, fmt.Sprintf(internalLine, `"panic: boom"`) + " stack=true"},
		{"panic of an error of this API", func(*fiber.Ctx) error { panic(notFound) }, internal, fmt.Sprintf(internalLine, `"panic: not_found: Not here."`) + " stack=true"},
		{"panic of nil", func(*fiber.Ctx) error { panic(any(nil)) }, internal,
			fmt.Sprintf(internalLine, `"panic: panic called with nil argument"`) + " stack=true"},
		{"nil pointer", func(*fiber.Ctx) error { var id *Identity; _ = id.Subject; return nil }, internal,
			fmt.Sprintf(internalLine, `"panic: runtime error: invalid memory address or nil pointer dereference"`) + " stack=true"},
		{"half a reply, then an error", func(c *fiber.Ctx) error {
			_ = c.Status(202).JSON(fiber.Map{"accepted": true})
			return errors.New("late")
		}, internal, fmt.Sprintf(internalLine, "late")},
		{"half a raw reply, then a panic", func(c *fiber.Ctx) error {
			c.Response().SetBodyRaw([]byte("canary"))
			panic("late")
		}, internal, fmt.Sprintf(internalLine, `"panic: late"`) + " stack=true"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			app := chainOf(logTo(&log), c.handler)
			assert.Equal(t, c.want, ask(t, app, "Authorization: Bearer canary\r\nX-Canary: canary\r\n", ""))
			assert.Equal(t, c.log, strings.TrimSuffix(log.String(), "\n"))
			log.Reset()
			assert.Equal(t, c.want, ask(t, app, "", ""), "and it goes on")
		})
	}
}

func TestEnvelope(t *testing.T) {
	denied := func(denial lifecycle.Denial) *Error {
		return &Error{Code: CodePaymentRequired, Type: "quota_exceeded", Message: "No.", Denial: denial}
	}
	for want, c := range map[string]struct { // the want is without an outcome
		err       *Error
		requestID string
	}{
		`{"error":{"type":"not_found","message":"Not here."}}`:                          {NewError(CodeNotFound, "Not here."), ""},
		`{"error":{"type":"not_found","message":"Not here.","request_id":"r-1"}}`:       {NewError(CodeNotFound, "Not here."), "r-1"},
		`{"error":{"type":"a\"b","message":"c\\\n\u0000<&>\u2028é","request_id":"\""}}`: {&Error{Type: "a\"b", Message: "c\\\n\x00<&>\u2028é"}, `"`},
		`{"error":{"type":"\ufffd","message":"\ufffd("}}`:                               {&Error{Type: "\xff", Message: "\xc3("}, ""},
		`{"error":{"type":"quota_exceeded","message":"No.","action":"a","command":"bus billing setup <&>","plan_id":"p","recommended_plan":"r","usage":{"b":2,"a":[1]},"request_id":"r-1"}}`: {
			denied(lifecycle.Denial{Action: "a", Command: "bus billing setup <&>", PlanID: "p", RecommendedPlan: "r", Usage: json.RawMessage(`{ "b" : 2, "a" : [ 1 ] }`)}), "r-1"},
		`{"error":{"type":"quota_exceeded","message":"No.","usage":0}}`:      {denied(lifecycle.Denial{Usage: json.RawMessage("0")}), ""},
		`{"error":{"type":"quota_exceeded","message":"No."}}`:                {denied(lifecycle.Denial{Usage: json.RawMessage("{")}), ""},
		`{"error":{"type":"internal_error","message":"causes stay inside"}}`: {&Error{Code: CodeInternal, Message: "causes stay inside", Cause: errors.New("canary"), Headers: []Header{{"canary", "canary"}}, Reason: "canary"}, ""},
		`{"error":{"type":"internal_error","message":""}}`:                   {&Error{}, ""},
	} {
		assert.Equal(t, want, string(c.err.appendEnvelope(nil, "", c.requestID)))
		assert.True(t, json.Valid([]byte(want)))
	}
	assert.Equal(t, "internal_error", (&Error{Type: "x"}).reason(), "without a code")
}

// slowLog keeps records until the requests are over, as a handler may.
type slowLog struct {
	slog.Handler
	records *[]slog.Record
}

func (slowLog) Enabled(context.Context, slog.Level) bool { return true }

func (l slowLog) Handle(_ context.Context, r slog.Record) error {
	*l.records = append(*l.records, r)
	return nil
}

// A log handler that keeps its records sees the id of its own request in each,
// although Fiber reuses its buffers.
func TestRecordsOutliveTheirRequests(t *testing.T) {
	var records []slog.Record
	logger := slog.New(slowLog{slog.DiscardHandler, &records})
	auth := newAuth(t, func(c *AuthConfig) { c.Logger = logger })
	failing := chainOf(logger, func(*fiber.Ctx) error { return errors.New("cause") })
	refusing := chainOf(logger, auth.Handler())

	var ctx fasthttp.RequestCtx
	var want []string
	for i := range 6 {
		id := fmt.Sprintf("request-%d", i)
		want = append(want, id)
		ctx.Request.Reset()
		ctx.Response.Reset()
		ctx.Request.Header.Set(fiber.HeaderXRequestID, id)
		ctx.Request.Header.Set(fiber.HeaderAuthorization, "Bearer x")
		[]fasthttp.RequestHandler{failing, refusing}[i%2](&ctx)
	}
	var got []string
	for _, record := range records {
		record.Attrs(func(a slog.Attr) bool {
			if a.Key == "request_id" {
				got = append(got, a.Value.String())
			}
			return true
		})
	}
	assert.Equal(t, want, got)
}
