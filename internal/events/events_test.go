package events

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestCollectionURL(t *testing.T) {
	for text, want := range map[string]string{
		"http://host:8081":                    "http://host:8081/api/v1/events",
		"http://host:8081/":                   "http://host:8081/api/v1/events",
		"http://127.0.0.1:8081/local/v1":      "http://127.0.0.1:8081/local/v1/api/v1/events",
		"http://127.0.0.1:8081/local/v1/":     "http://127.0.0.1:8081/local/v1/api/v1/events",
		"http://host:8081/api/v1/events":      "http://host:8081/api/v1/events",
		"http://host:8081/api/v1/events/":     "http://host:8081/api/v1/events",
		"https://host/local/v1/api/v1/events": "https://host/local/v1/api/v1/events",
		"http://[::1]:8081/a%20b":             "http://[::1]:8081/a%20b/api/v1/events",
		"":                                    "",
		"host:8081":                           "",
		"ftp://host":                          "",
		"http://":                             "",
		"http://user:pass@host":               "",
		"http://host?x=1":                     "",
		"http://host#top":                     "",
		"http://host/\x7f":                    "",
		"http://host/api/v1/events?name=bus.vm.status.x": "",
	} {
		got, err := CollectionURL(text)
		assert.Equal(t, want, got, text)
		if want == "" {
			assert.Equal(t, ErrURL, err, text)
		} else {
			assert.NoError(t, err, text)
		}
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
		assert.Equal(t, c.want, skew(at(c.date), at(c.asked), at(c.answered)), c)
	}
}
