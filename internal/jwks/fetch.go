package jwks

import (
	"context"
	"crypto/tls"
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
)

var (
	errElsewhere = errors.New("the server redirects to another host or scheme, which is not followed")
	errRedirects = fmt.Errorf("the server redirects more than %d times", maxRedirects)
	errTooSlow   = errors.New("the server did not answer in full in time")
)

// fetched is a good answer.
type fetched struct {
	unchanged bool // 304: the document is the last good one
	document  []byte
	etag      string
	maxAge    time.Duration // unknownAge when the server does not say
}

func newClient(trust *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
			TLSClientConfig:        trust,
			TLSHandshakeTimeout:    connectTimeout,
			MaxResponseHeaderBytes: maxHeader,
			MaxIdleConns:           1,
			IdleConnTimeout:        idleTimeout,
			ForceAttemptHTTP2:      true,
			// A small body may unpack to a large one.
			DisableCompression: true,
		},
		CheckRedirect: func(next *http.Request, before []*http.Request) error {
			if next.URL.Scheme != before[0].URL.Scheme || next.URL.Host != before[0].URL.Host {
				return errElsewhere
			}
			if len(before) > maxRedirects {
				return errRedirects
			}
			return nil
		},
	}
}

// fetch asks for the document once. Its errors do not repeat the URL.
func (r *Remote) fetch(ctx context.Context) (fetched, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout, errTooSlow)
	defer cancel()
	request := (&http.Request{Method: http.MethodGet, URL: r.url, Header: http.Header{
		"Accept": {"application/jwk-set+json, application/json"}, // RFC 7517 §8.5.2
	}}).WithContext(ctx)
	if r.etag != "" {
		request.Header.Set("If-None-Match", r.etag)
	}
	response, err := r.client.Do(request)
	if err != nil {
		return fetched{}, describe(ctx, err)
	}
	defer response.Body.Close()
	got := fetched{etag: response.Header.Get("ETag"), maxAge: freshFor(response.Header.Values("Cache-Control"))}
	switch {
	case response.StatusCode == http.StatusNotModified && r.etag != "":
		got.unchanged = true
		return got, nil
	case response.StatusCode != http.StatusOK:
		return fetched{}, fmt.Errorf("the server answered with status %d", response.StatusCode)
	}
	if got.document, err = readBounded(response.Body); err != nil {
		return fetched{}, describe(ctx, err)
	}
	return got, nil
}

// describe takes the URL out of an error of net/http.
func describe(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var about *url.Error
	if errors.As(err, &about) {
		return about.Err
	}
	return err
}

// Fetch asks for the document at rawURL once, the way a Remote does. The error
// is ErrURL, or says why there is no set; it does not repeat the URL.
func Fetch(ctx context.Context, rawURL string) (*Set, error) {
	r, err := NewRemote(RemoteConfig{URL: rawURL})
	if err != nil {
		return nil, err
	}
	defer r.client.CloseIdleConnections()
	got, err := r.fetch(ctx)
	if err != nil {
		return nil, err
	}
	return Parse(got.document)
}

// ErrURL means that no keys may be fetched from a URL. The URL itself is not
// repeated: it may hold a password.
var ErrURL = errors.New("want an absolute https URL, or http on a loopback address, without user or fragment")

// CheckURL returns ErrURL unless keys may be fetched from text: who can change
// them on their way can sign tokens.
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

const (
	// usualInterval is between two fetches of a document without a max-age;
	// what one asks for is kept within the other two.
	usualInterval    = 5 * time.Minute
	shortestInterval = 30 * time.Second
	longestInterval  = 15 * time.Minute
	// missedInterval is between two fetches that unknown key ids cause.
	missedInterval = 10 * time.Second
	// The pauses after failures begin between firstBackoff and twice that.
	firstBackoff   = time.Second / 2
	longestBackoff = time.Minute
	// jitter is the part of an interval that is left to chance, so that replicas do
	// not ask in step.
	jitter = 0.2
)

// unknownAge stands for a document that does not say how long it is fresh.
const unknownAge = time.Duration(-1)

// interval is how long to wait after a success; chance is in [0, 1).
func interval(maxAge time.Duration, chance float64) time.Duration {
	if maxAge == unknownAge {
		maxAge = usualInterval
	}
	d := min(max(maxAge, shortestInterval), longestInterval)
	return d - time.Duration(jitter*chance*float64(d))
}

// freshFor reads Cache-Control values (RFC 9111 §5.2.2): max-age, zero for
// no-cache and no-store, unknownAge when they say neither.
func freshFor(values []string) time.Duration {
	age := unknownAge
	for _, directive := range strings.Split(strings.Join(values, ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-cache", "no-store":
			return 0
		case "max-age":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err == nil && age == unknownAge {
				age = time.Duration(seconds) * time.Second
			}
		}
	}
	return age
}
