package events

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

// tokenRefusal is a RefusedError that concerns the token.
type tokenRefusal struct {
	*RefusedError
	token secret.String
	doing string // what it was refused for
}

func (e *tokenRefusal) Unwrap() error { return e.RefusedError }

// withToken makes a tokenRefusal of an error that is one, and leaves others.
func withToken(err error, token secret.String, doing string) error {
	var refusal *RefusedError
	if errors.As(err, &refusal) && (refusal.Status == http.StatusUnauthorized || refusal.Status == http.StatusForbidden) {
		return &tokenRefusal{refusal, token, doing}
	}
	return err
}

// tokenRefused deals with err if it is a tokenRefusal: either the token has
// changed and err may be a thing of the past, or it may change later, or, if
// final is set, it never will. That is one line for the operator.
func (c *Client) tokenRefused(err error) (changed bool, final error) {
	var refusal *tokenRefusal
	if !errors.As(err, &refusal) {
		return false, nil
	}
	changed, final = c.config.Token.Refused(refusal.token)
	if final == nil {
		return changed, nil
	}
	reason := ""
	if refusal.Reason != "" {
		reason = " (" + refusal.Reason + ")"
	}
	return false, fmt.Errorf("%w in BUS_API_TOKEN: %s %s was answered %d %s%s; it needs the scope %q, and all that is enabled needs %q; "+
		"put a valid token there, or use --token-file to replace it while running",
		final, refusal.doing, refusal.Event, refusal.Status, http.StatusText(refusal.Status), reason,
		strings.Join(ScopesFor(refusal.Event), " "), strings.Join(ScopesFor(c.config.Replies...), " "))
}
