package jwks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
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
