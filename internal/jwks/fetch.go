package jwks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/address"
)

const (
	// fetchTimeout bounds a whole fetch, redirects and body included.
	fetchTimeout = 10 * time.Second
	// connectTimeout bounds its two handshakes, each.
	connectTimeout = 5 * time.Second
	// maxHeader bounds the header of an answer, in bytes.
	maxHeader = 64 << 10
	// maxRedirects bounds the redirects of one fetch.
	maxRedirects = 3
	// idleTimeout closes the connection well before the next fetch.
	idleTimeout = 10 * time.Second

	// usualInterval is between two fetches of a document without a max-age;
	// what one asks for is kept within the other two.
	usualInterval    = 5 * time.Minute
	shortestInterval = 30 * time.Second
	longestInterval  = 15 * time.Minute
)

// ErrURL means that no keys may be fetched from a URL. The URL itself is not
// repeated: it may hold a password.
var ErrURL = errors.New("want an absolute https URL, or http on a loopback address, without user or fragment")

var errRedirect = fmt.Errorf("the server redirects to another host or scheme, or more than %d times", maxRedirects)

// CheckURL returns ErrURL unless keys may be fetched from text: who can change
// them on their way can sign tokens.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return ErrURL
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !address.IsLoopbackHost(u.Hostname())) {
		return ErrURL
	}
	return nil
}

func newClient() *http.Client {
	return &http.Client{
		Timeout: fetchTimeout,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
			TLSHandshakeTimeout:    connectTimeout,
			MaxResponseHeaderBytes: maxHeader,
			MaxIdleConns:           1,
			IdleConnTimeout:        idleTimeout,
			ForceAttemptHTTP2:      true,
			// A small body may unpack to a large one.
			DisableCompression: true,
		},
		CheckRedirect: func(next *http.Request, before []*http.Request) error {
			first := before[0].URL
			if len(before) > maxRedirects || next.URL.Scheme != first.Scheme || next.URL.Host != first.Host {
				return errRedirect
			}
			return nil
		},
	}
}

// Fetch asks for the document at url once, the way a Source does. The error is
// ErrURL, or says why there is no set; it does not repeat the URL.
func Fetch(ctx context.Context, url string) (*Set, error) {
	client := newClient()
	defer client.CloseIdleConnections()
	set, _, err := fetch(ctx, client, url)
	return set, err
}

// fetch also returns how long the set is fresh.
func fetch(ctx context.Context, client *http.Client, from string) (set *Set, fresh time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err := cmp.Or(CheckURL(from), err); err != nil {
		return nil, 0, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json") // RFC 7517 §8.5.2
	response, err := client.Do(request)
	var failed *url.Error
	switch {
	case errors.As(err, &failed):
		return nil, 0, failed.Err // without the URL
	case err != nil:
		return nil, 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("the server answered with status %d", response.StatusCode)
	}
	document, err := readBounded(response.Body)
	if err != nil {
		return nil, 0, err
	}
	set, err = Parse(document)
	return set, freshFor(response.Header.Values("Cache-Control")), err
}

// freshFor reads Cache-Control values (RFC 9111 §5.2.2): what max-age says,
// within bounds, and the shortest interval for no-cache and no-store.
func freshFor(values []string) time.Duration {
	var fresh time.Duration
	for directive := range strings.SplitSeq(strings.ToLower(strings.Join(values, ",")), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
		switch {
		case name == "no-cache", name == "no-store":
			return shortestInterval
		case name == "max-age" && err == nil && fresh == 0:
			fresh = min(max(time.Duration(seconds)*time.Second, shortestInterval), longestInterval)
		}
	}
	return cmp.Or(fresh, usualInterval)
}
