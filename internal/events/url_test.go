package events

import "testing"

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
		if got != want || (err == nil) != (want != "") || (err != nil && err != ErrURL) {
			t.Errorf("CollectionURL(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
}
