package jwks

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// One fetch is one request, and leaves no connection behind.
func TestFetchOnce(t *testing.T) {
	const key = `{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	requests := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests++
		_, _ = w.Write([]byte(`{"keys":[` + key + `]}`))
	}))
	defer s.Close()
	set, err := Fetch(t.Context(), s.URL)
	if err != nil || strings.Join(set.IDs(), " ") != "a (EdDSA)" || requests != 1 {
		t.Errorf("got %v, %v after %d requests", set, err, requests)
	}
	if _, err := Fetch(t.Context(), "ftp://x"); !errors.Is(err, ErrURL) {
		t.Errorf("got %v", err)
	}
	s.Close()
	if _, err := Fetch(t.Context(), s.URL); err == nil || strings.Contains(err.Error(), s.URL) {
		t.Errorf("got %v", err)
	}
}
