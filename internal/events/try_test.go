package events

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

// Try asks for exactly one stream, the way a Client does, and lets go of it.
func TestTry(t *testing.T) {
	const reply = "bus.vm.status.response"
	status, kind := http.StatusOK, "application/x-ndjson"
	var asked *http.Request
	gone := make(chan struct{}, 10)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_ = http.NewResponseController(w).Flush()
		if status == http.StatusOK && kind != "text/html" {
			<-r.Context().Done()
		}
		gone <- struct{}{}
	}))
	defer api.Close()

	got, err := Try(t.Context(), api.URL, secret.New("token"), reply)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone:
	case <-time.After(headerTimeout / 2): // before its watchdog would close it
		t.Fatal("the stream is held")
	}
	if asked.Method != "GET" || asked.URL.Path != "/api/v1/events/stream" || asked.URL.Query().Encode() != "delivery=broadcast&name="+reply ||
		asked.Header.Get("Authorization") != "Bearer token" {
		t.Errorf("asked %s %s", asked.Method, asked.URL)
	}
	if got.Skew() != 0 || got.Date.IsZero() || got.Answered.Before(got.Asked) {
		t.Errorf("got %+v", got)
	}

	status = http.StatusForbidden
	var refused *RefusedError
	if got, err = Try(t.Context(), api.URL, secret.New("token"), reply); !errors.As(err, &refused) || refused.Status != status || got.Date.IsZero() {
		t.Errorf("got %v, %+v", err, got)
	}
	status, kind = http.StatusOK, "text/html"
	if _, err = Try(t.Context(), api.URL, secret.New("token"), reply); err == nil {
		t.Error("a web site is no stream")
	}
	if _, err = Try(t.Context(), "ftp://x", secret.New("token"), reply); !errors.Is(err, ErrURL) {
		t.Errorf("got %v", err)
	}
	api.Close()
	if got, err = Try(t.Context(), api.URL, secret.New("token"), reply); err == nil || !got.Date.IsZero() {
		t.Errorf("got %v, %+v", err, got)
	}
}

func TestSkew(t *testing.T) {
	at := func(seconds float64) time.Time {
		return time.Unix(1_800_000_000, 0).Add(time.Duration(seconds * float64(time.Second)))
	}
	for _, c := range []struct {
		asked, answered, date float64
		want                  time.Duration
	}{
		{0.5, 0.6, 0, 0}, // a date is cut to its second
		{0.5, 3, 2, 0},
		{0, 0, 5, 5 * time.Second},
		{0.5, 1.5, 10, 8500 * time.Millisecond},
		{10, 11, 3, -6 * time.Second},
		{1.5, 2, 0, -500 * time.Millisecond},
	} {
		if got := (Attempt{Asked: at(c.asked), Answered: at(c.answered), Date: at(c.date)}).Skew(); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
	if (Attempt{Asked: at(0), Answered: at(1)}).Skew() != 0 {
		t.Error("no date is no skew")
	}
}
