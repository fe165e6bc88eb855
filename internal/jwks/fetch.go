package jwks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/address"
)

const (
	// fetchTimeout bounds a whole fetch, redirects and body included.
	fetchTimeout = 10 * time.Second
	// connectTimeout leaves time for other addresses of the server.
	connectTimeout = 5 * time.Second
	// maxHeader bounds the header of an answer, in bytes.
	maxHeader = 64 << 10
	// maxRedirects bounds the redirects of one fetch.
	maxRedirects = 3

	// usualInterval is between two fetches of a document that does not say how
	// long it is fresh; what one says is kept within the other two.
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
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" ||
		u.Scheme != "https" && (u.Scheme != "http" || !address.IsLoopbackHost(u.Hostname())) {
		return ErrURL
	}
	return nil
}

// client is for fetches that are minutes apart.
var client = &http.Client{
	Timeout: fetchTimeout,
	Transport: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
		ForceAttemptHTTP2:      true,
		MaxResponseHeaderBytes: maxHeader,
		DisableKeepAlives:      true,
		DisableCompression:     true, // a small body may unpack to a large one
	},
	CheckRedirect: func(next *http.Request, before []*http.Request) error {
		first := before[0].URL
		if len(before) > maxRedirects || next.URL.Scheme != first.Scheme || next.URL.Host != first.Host {
			return errRedirect
		}
		return nil
	},
}

// Fetch asks for the document at url once, the way a Source does. The error is
// ErrURL, or says why there is no set; it does not repeat the URL.
func Fetch(ctx context.Context, url string) (*Set, error) {
	set, _, err := fetch(ctx, client, url)
	return set, err
}

// fetch also returns how long to wait before the next fetch.
func fetch(ctx context.Context, client *http.Client, from string) (*Set, time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err := cmp.Or(CheckURL(from), err); err != nil {
		return nil, 0, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json") // RFC 7517 §8.5.2
	response, err := client.Do(request)
	if err != nil {
		return nil, 0, cmp.Or(errors.Unwrap(err), err) // without the URL
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("the server answered with status %d", response.StatusCode)
	}
	document, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1)) // Parse refuses one byte more
	if err != nil {
		return nil, 0, err
	}
	set, err := Parse(document)
	return set, freshFor(response.Header.Values("Cache-Control")), err
}

var maxAge = regexp.MustCompile(`(?:^|[, ])max-age="?(\d{1,9})"?(?:$|[, ])`)

// freshFor is how long an answer with these Cache-Control values (RFC 9111
// §5.2.2) is taken for fresh.
func freshFor(values []string) time.Duration {
	directives := strings.ToLower(strings.Join(values, ","))
	said := maxAge.FindStringSubmatch(directives)
	switch {
	case strings.Contains(directives, "no-cache"), strings.Contains(directives, "no-store"):
		return shortestInterval
	case said == nil:
		return usualInterval
	}
	seconds, _ := strconv.Atoi(said[1]) // nine digits
	return min(max(time.Duration(seconds)*time.Second, shortestInterval), longestInterval)
}
