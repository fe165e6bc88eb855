package faults

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// between is a proxy in front of the Events API: meddle answers publishes of name,
// everything else passes.
type between struct {
	*httptest.Server
	target string
	hits   atomic.Int64
}

// pass carries the publish out, as the API does, and returns its status.
type pass func() int

// newBetween must be called before newRig, which uses it to its own end.
func newBetween(t *testing.T, name string, meddle func(n int64, w http.ResponseWriter, q *http.Request, pass pass)) *between {
	b := &between{}
	through := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			u, err := url.Parse(b.target)
			assert.NoError(t, err)
			p.SetURL(u)
		},
		FlushInterval: -1, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(502) },
	}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return
		}
		q.Body = io.NopCloser(bytes.NewReader(body))
		var m struct{ Name string }
		if json.Unmarshal(body, &m) != nil || m.Name != name {
			through.ServeHTTP(w, q)
			return
		}
		meddle(b.hits.Add(1), w, q, func() int {
			again, _ := http.NewRequest(http.MethodPost, b.target+q.URL.Path, bytes.NewReader(body))
			again.Header = q.Header.Clone()
			reply, err := http.DefaultClient.Do(again)
			if err != nil {
				return 0
			}
			io.Copy(io.Discard, reply.Body)
			reply.Body.Close()
			return reply.StatusCode
		})
	}))
	t.Cleanup(func() { b.CloseClientConnections(); b.Close() })
	return b
}

func rawAnswer(w http.ResponseWriter, text string, hold time.Duration) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, text)
	if hold > 0 {
		conn.SetReadDeadline(time.Now().Add(hold))
		bufio.NewReader(conn).ReadByte()
	}
}
