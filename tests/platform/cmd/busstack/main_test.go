package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

const (
	patience = time.Minute
	denied   = "00000000-0000-4000-8000-000000000002"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// readyLine catches what run prints and tells the URL once it is there.
type readyLine struct {
	mu   sync.Mutex
	text bytes.Buffer
	url  chan string
}

func (r *readyLine) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if url, ok := strings.CutPrefix(strings.TrimSpace(string(b)), "busstack ready at "); ok {
		r.url <- url
	}
	return r.text.Write(b)
}

func TestRunServesUntilItIsTold(t *testing.T) {
	tokenFile := filepath.Join(t.TempDir(), "provider.token")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stdout := &readyLine{url: make(chan string, 1)}
	var stderr bytes.Buffer
	running, interrupt := context.WithCancel(ctx)
	ended := make(chan error, 1)
	secret := "a-secret-of-this-test-and-no-other-one"
	go func() {
		ended <- run(running, []string{"-addr", "127.0.0.1:0", "-token-file", tokenFile, "-deny", denied, "-start-time", "0"},
			func(string) string { return secret }, stdout, &stderr)
	}()
	url := <-stdout.url

	info, err := os.Stat(tokenFile)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("token file: %v %v", info, err)
	}
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		t.Fatal(err)
	}
	c := platform.NewClient(url+platform.LocalRoot, strings.TrimSpace(string(token)))
	defer c.Close()
	_, err = c.Publish(ctx, platform.Message{Name: platform.UsageRequest, CorrelationID: "u", Payload: map[string]any{
		"event_type": "runtime_start_requested", "event_id": "e", "account_id": denied, "occurred_at": "2026-01-02T03:04:05Z",
		"data": map[string]string{"request_id": "r", "action": "start", "runtime": "default"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Listen(ctx, platform.Listen{Name: platform.ReplyName(platform.UsageRequest), Replay: true}, func(platform.Envelope) {
		interrupt() // the record is stored: end it all, and with it this stream
	}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if strings.Contains(stderr.String(), strings.TrimSpace(string(token))) || strings.Contains(stderr.String(), secret) {
		t.Fatal("a token or the secret is in the log")
	}
	wantOut := "busstack ready at " + url + "\non record:\n" +
		"usage 2026-01-02T03:04:05Z runtime_start_requested account=" + denied + " request=r\n" +
		"breach start of r by " + denied + ": 0 terminal records, want 1\n"
	if got := stdout.text.String(); got != wantOut {
		t.Fatalf("stdout:\n got %q\nwant %q", got, wantOut)
	}
}
