package jwks

import (
	"errors"
	"net/url"

	"github.com/busdk/bus-api-provider-vm/internal/address"
)

// ErrURL means that no keys may be fetched from a URL. The URL itself is not
// repeated: it may hold a password.
var ErrURL = errors.New("want an absolute https URL, or http on a loopback address, without user or fragment")

// CheckURL returns ErrURL unless keys may be fetched from text: whoever can
// change them on their way can sign tokens.
func CheckURL(text string) error {
	_, err := parseURL(text)
	return err
}

func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return nil, ErrURL
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !address.IsLoopbackHost(u.Hostname())) {
		return nil, ErrURL
	}
	return u, nil
}
