package events

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// bareServer accepts every publish and replies to it at once, with as little
// work as can be.
type bareServer struct {
	net.Listener
	stream atomic.Pointer[chan string]
}

func newBareServer(b *testing.B) *bareServer {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &bareServer{Listener: listener}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return s
}

func (s *bareServer) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		request, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if request.Method == http.MethodGet {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n")
			lines := make(chan string, 10000)
			s.stream.Store(&lines)
			for line := range lines {
				if _, err := io.WriteString(conn, line); err != nil {
					return
				}
			}
		}
		body, _ := io.ReadAll(request.Body)
		_, id, _ := bytes.Cut(body, []byte(`"correlationId":"`))
		id, _, _ = bytes.Cut(id, []byte(`"`))
		*s.stream.Load() <- fmt.Sprintf(`{"name":%q,"correlationId":%q,"payload":{"accepted":true,"action":"start"}}`+"\n", startReply, id)
		_, _ = io.WriteString(conn, "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"accepted\":true}")
	}
}

// benchmarkClient makes requests and waits for their replies.
func benchmarkClient(b *testing.B, lifecycle bool) {
	s := newBareServer(b)
	defer s.Close()
	c, err := New(settings("http://" + s.Addr().String()))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- c.Run(ctx) }()
	var n atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(50)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
			request := startRequest(fmt.Sprint(n.Add(1)))
			request.Lifecycle = lifecycle
			_, err := Do(ctx, c, request)
			cancel()
			if err != nil {
				b.Error(err)
			}
		}
	})
	cancel()
	<-ended
}

// BenchmarkRequest is one request and its reply, over shared connections or, as
// lifecycle requests are, over one of its own each; bare makes the same
// publishes with fasthttp and counts the lines that come back.
func BenchmarkRequest(b *testing.B) {
	for name, lifecycle := range map[string]bool{"shared": false, "lifecycle": true} {
		b.Run(name, func(b *testing.B) { benchmarkClient(b, lifecycle) })
	}
	b.Run("bare", func(b *testing.B) {
		s := newBareServer(b)
		defer s.Close()
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		in := bufio.NewReader(conn)
		if _, err := http.ReadResponse(in, nil); err != nil {
			b.Fatal(err)
		}
		lines := make(chan struct{}, 10000)
		go func() {
			for {
				if _, err := in.ReadSlice('\n'); err != nil {
					return
				}
				lines <- struct{}{}
			}
		}()
		client := &fasthttp.HostClient{Addr: s.Addr().String(), MaxConns: maxPublishConns, MaxConnWaitTimeout: time.Minute}
		var n atomic.Int64
		b.ReportAllocs()
		b.SetParallelism(50)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				request, reply := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
				request.Header.SetMethod(http.MethodPost)
				request.SetRequestURI("http://h/api/v1/events")
				request.SetBodyString(fmt.Sprintf(`{"name":%q,"correlationId":"%d","payload":{"runtime":"default"}}`, StartRequest, n.Add(1)))
				if err := client.DoTimeout(request, reply, 30*time.Second); err != nil {
					b.Error(err)
				}
				<-lines
				fasthttp.ReleaseRequest(request)
				fasthttp.ReleaseResponse(reply)
			}
		})
	})
}
