package routes

import (
	"cmp"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/middleware"
)

// failure is the answer to a write that ended otherwise than accepted, by what is on
// record; nil for one that did not.
func failure(r lifecycle.Receipt) *middleware.Error {
	switch r.Outcome {
	case "", lifecycle.Accepted:
		return nil
	case lifecycle.Rejected:
		return &middleware.Error{Code: middleware.CodeBadGateway, Type: r.ErrorType,
			Message: cmp.Or(r.ErrorMessage, "The runtime did not accept the operation.")}
	case lifecycle.NotSent:
		return middleware.Unavailable(0, "The operation was not sent; nothing was done.", nil)
	}
	return middleware.Unavailable(0, "The runtime did not answer in time. It may still act on the request.", nil)
}

// receipt is an operation as its caller reads it.
type receipt struct {
	lifecycle.Receipt
	Joined   bool      `json:"joined,omitempty"`
	Estimate *estimate `json:"estimate,omitempty"`
	Error    *problem  `json:"error,omitempty"`
}

type estimate struct {
	P50     float64 `json:"p50_seconds"`
	P90     float64 `json:"p90_seconds"`
	Samples int     `json:"samples"`
	Overdue bool    `json:"overdue"`
}

type problem struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

// receiptOf renders r; expected is for a start that is still awaited.
func receiptOf(r lifecycle.Receipt, expected lifecycle.Estimate) receipt {
	r.Usage = append([]lifecycle.Delivery{}, r.Usage...) // in JSON no null
	shown := receipt{Receipt: r, Joined: r.Leader != ""}
	awaited := r.Action == lifecycle.Start && r.ReachedAt.IsZero() && (r.Outcome == "" || r.Outcome == lifecycle.Accepted)
	if awaited && expected.Samples > 0 {
		shown.Estimate = &estimate{expected.P50.Seconds(), expected.P90.Seconds(), expected.Samples,
			!r.AcceptedAt.IsZero() && time.Since(r.AcceptedAt) > expected.P90}
	}
	if e := failure(r); e != nil {
		shown.Error = &problem{e.ErrorType(), e.Message}
	}
	return shown
}

// RenderOperation returns an operation as its caller reads it, as JSON in one line.
func RenderOperation(r lifecycle.Receipt, expected lifecycle.Estimate) ([]byte, error) {
	return json.Marshal(receiptOf(r, expected))
}

// operation answers with one operation of the caller.
func (a *api) operation(c *fiber.Ctx) error {
	id := strings.Clone(c.Params("id"))
	if len(id) != len(uuid.Nil.String()) || uuid.Validate(id) != nil {
		return errNotFound
	}
	r, err := a.Operations.Receipt(c.UserContext(), id)
	switch {
	case err != nil:
		return unreadable(err)
	case r.Action == "" || r.Account != middleware.CallerIdentity(c).Subject:
		return errNotFound
	}
	return sendValue(c, map[string]receipt{"operation": receiptOf(r, a.Operations.Estimate(r))})
}

// The operations in a list: unless the caller says how many, and at most.
const (
	defaultListed = 20
	maxListed     = 100
)

var errLimit = middleware.NewError(middleware.CodeBadRequest, "The limit is a whole number from 1 to "+strconv.Itoa(maxListed)+".")

// operations answers with the latest operations of the caller, newest first.
func (a *api) operations(c *fiber.Ctx) error {
	limit := uint64(defaultListed)
	if given := c.Context().QueryArgs().PeekMulti("limit"); len(given) > 0 {
		var err error
		if limit, err = strconv.ParseUint(string(given[0]), 10, 32); err != nil || len(given) > 1 || limit < 1 || limit > maxListed {
			return errLimit
		}
	}
	list, err := a.Operations.Receipts(c.UserContext(), middleware.CallerIdentity(c).Subject, int(limit))
	if err != nil {
		return unreadable(err)
	}
	shown := []receipt{}
	for _, r := range list {
		shown = append(shown, receiptOf(r, a.Operations.Estimate(r)))
	}
	return sendValue(c, map[string][]receipt{"operations": shown})
}

func unreadable(err error) error {
	return middleware.Unavailable(0, "The operations cannot be read now.", err)
}

func sendValue(c *fiber.Ctx, value any) error {
	document, _ := json.Marshal(value) // there is nothing in it that JSON cannot show
	return sendJSON(c, fiber.StatusOK, document)
}
