package middleware

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

func tokenOf(subject string) string {
	claims := hostile.GoodClaims(epoch).Set("sub", `"`+strings.ReplaceAll(subject, "\x00", `\u0000`)+`"`)
	return bearer(hostile.Sign(testSecret, hostile.DefaultHeader, claims.String()))
}

func TestRequireAccount(t *testing.T) {
	handler := chainOf(slog.New(slog.DiscardHandler), newAuth(t, nil).Handler(), RequireAccount())
	noAccount := refused("403 Forbidden", "", "insufficient_access", "The subject of this token is not a billable account.")
	for _, c := range []struct{ subject, want string }{
		{"9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2e", passed},
		{"9A1F6F0E-3C57-4F0E-8F1D-2B8F6A0C1D2E", passed},
		{"00000000-0000-0000-0000-000000000001", passed},
		{"9a1f6f0e3c574f0e8f1d2b8f6a0c1d2e", noAccount},
		{"{9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2e}", noAccount},
		{"urn:uuid:9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2e", noAccount},
		{" 9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2e", noAccount},
		{"9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2e ", noAccount},
		{"9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2", noAccount},
		{"9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2g", noAccount},
		{"9a1f6f0e_3c57_4f0e_8f1d_2b8f6a0c1d2e", noAccount},
		{"a service with a 36 characters' name", noAccount},
		{"bus-vm-local", noAccount},
		{"9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2e\x00", noAccount},
	} {
		assert.Equal(t, c.want, ask(t, handler, tokenOf(c.subject), ""), "%q", c.subject)
	}
}
