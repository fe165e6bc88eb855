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
	"strings"
)

const (
	idleConnections = 64
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
	Name          string
	CorrelationID string
	Payload       any // as JSON; a json.RawMessage goes out as it is
	Error         any // an event error; nil leaves it out
}

// StatusError is an answer that is neither 200 nor 202.
type StatusError struct {
	Status int
	Type   string // error.type of the envelope, empty without one
	Body   string
}

func (e *StatusError) Error() string { return fmt.Sprintf("status %d: %s", e.Status, e.Body) }

// NewClient returns a client of the API at root, the service root or the
// collection's URL.
func NewClient(root, token string) *Client {
	root = strings.TrimRight(root, "/")
	if !strings.HasSuffix(root, collection) {
		root += collection
	}
	return &Client{collection: root, token: token, http: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: idleConnections, DisableCompression: true},
	}}
}

// Trust makes c verify https by the PEM text of roots alone, and returns c. It
// must be called before any other method; empty roots change nothing.
func (c *Client) Trust(roots []byte) *Client {
	if len(roots) > 0 {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(roots)
		c.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return c
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Publish sends one event and returns its id. A refusal is a *StatusError.
func (c *Client) Publish(ctx context.Context, m Message) (id string, err error) {
	body := map[string]any{"name": m.Name, "correlationId": m.CorrelationID, "payload": m.Payload}
	if m.Error != nil {
		body["error"] = m.Error
	}
	text, err := json.Marshal(body)
	if err != nil {
		return "", fmt.Errorf("encode %s: %w", m.Name, err)
	}
	res, err := c.do(ctx, http.MethodPost, c.collection, text)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var answer struct {
		Accepted bool   `json:"accepted"`
		ID       string `json:"id"`
		Name     string `json:"name"`
	}
	err = json.NewDecoder(res.Body).Decode(&answer)
	_, _ = io.Copy(io.Discard, res.Body) // to its end, for the connection's next use
	if err != nil || !answer.Accepted || answer.Name != m.Name {
		return "", fmt.Errorf("publish %s: the answer is not an acceptance", m.Name)
	}
	return answer.ID, nil
}

// Listen describes one stream.
type Listen struct {
	Name   string
	Group  string // unicast in this group; empty means broadcast
	Replay bool
}

// Listen opens a stream and calls each for every envelope until the stream
// ends (nil), fails, or ctx ends. A line that is no envelope is skipped.
func (c *Client) Listen(ctx context.Context, l Listen, each func(Envelope)) error {
	query := url.Values{"name": {l.Name}, "delivery": {deliverBroadcast}}
	if l.Group != "" {
		query.Set("delivery", deliverUnicast)
		query.Set("group", l.Group)
	}
	if l.Replay {
		query.Set("replay", "true")
	}
	res, err := c.do(ctx, http.MethodGet, c.collection+"/stream?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewReaderSize(res.Body, writeBuffer)
	for {
		line, err := lines.ReadBytes('\n')
		if env, ok := parseEnvelope(line); ok && env.Name == l.Name {
			each(env)
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
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK || res.StatusCode == http.StatusAccepted {
		return res, nil
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBody)) // what there is of it
	refused := &StatusError{Status: res.StatusCode, Body: string(text)}
	var envelope struct {
		Error struct{ Type string }
	}
	if json.Unmarshal(text, &envelope) == nil {
		refused.Type = envelope.Error.Type
	}
	return nil, refused
}
