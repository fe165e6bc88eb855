package platform

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

const (
	// maxConnections bounds what is published at a time.
	maxConnections = 64
	// maxErrorBody bounds what is read of a refusal.
	maxErrorBody = 4 << 10
)

// Client is a plain Events API client, for workers and for tests that act as
// a replica, another client or an intruder. Its methods are safe for concurrent use.
type Client struct {
	collection string
	token      string
	http       *http.Client
}

// Message is one event to publish.
type Message struct {
	Name          string `json:"name"`
	CorrelationID string `json:"correlationId"`
	Payload       any    `json:"payload"` // as JSON; a json.RawMessage goes out as it is
	Error         any    `json:"error,omitempty"`
}

// NewClient returns a client of the API at root, the service root.
func NewClient(root, token string) *Client {
	return &Client{collection: root + collection, token: token, http: &http.Client{
		Transport: &http.Transport{MaxConnsPerHost: maxConnections, MaxIdleConnsPerHost: maxConnections, DisableCompression: true},
	}}
}

// trust makes c verify https by the PEM text of roots alone.
func (c *Client) trust(roots []byte) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	c.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Publish sends one event.
func (c *Client) Publish(ctx context.Context, m Message) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode %s: %w", m.Name, err)
	}
	res, err := c.do(ctx, http.MethodPost, c.collection, text)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var answer struct{ Accepted bool }
	err = json.NewDecoder(res.Body).Decode(&answer)
	_, _ = io.Copy(io.Discard, res.Body) // to its end, for the connection's next use
	if err != nil || !answer.Accepted {
		return fmt.Errorf("publish %s: the answer is not an acceptance", m.Name)
	}
	return nil
}

// listen opens a unicast stream of name in group, with what it missed, and calls
// each for every event until the stream ends (nil), fails, or ctx ends. A line
// that is no event is skipped.
func (c *Client) listen(ctx context.Context, name, group string, each func(wire)) error {
	query := url.Values{"name": {name}, "delivery": {deliverUnicast}, "group": {group}, "replay": {"true"}}
	res, err := c.do(ctx, http.MethodGet, c.collection+"/stream?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewReaderSize(res.Body, writeBuffer)
	for {
		line, err := lines.ReadBytes('\n')
		var ev wire
		if json.Unmarshal(line, &ev) == nil && ev.Name == name {
			each(ev)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

func (c *Client) do(ctx context.Context, method, target string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK || res.StatusCode == http.StatusAccepted {
		return res, nil
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBody)) // what there is of it
	return nil, fmt.Errorf("status %d: %s", res.StatusCode, text)
}
