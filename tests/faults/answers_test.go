package faults

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// A token that is refused after the reply has come proves nothing any more: the
// write is not published again with a new one.
func TestTokenRefusedAfterTheReply(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	harness.Replace(t, file, mint(platform.ProviderScope))
	var g *gateway
	b := newBetween(t, platform.StartRequest, func(n int64, w http.ResponseWriter, pass pass) {
		if n > 1 {
			w.WriteHeader(pass())
			return
		}
		pass()
		if !eventually(func() bool {
			heard, _ := g.metric(`bus_vm_events_replies_total{event="bus.vm.start.response",match="matched"}`)
			return heard > 0
		}) {
			t.Error("no reply has come")
		}
		harness.Replace(t, file, mint(platform.ProviderScope))
		w.WriteHeader(401)
	})
	g = b.gateway("BUS_API_TOKEN=", "BUS_API_TOKEN_FILE="+file)
	b.wantWrite(g, start, http.StatusAccepted, "")
	g.stop() // after which nothing is under way
	assert.EqualValues(t, 1, b.hits.Load(), "publishes")
}

// Of an event that was passed on, only a 4xx or accepted: false says that nothing
// was done; whatever else is answered, the reply is waited for.
func TestOddPublishAnswers(t *testing.T) {
	rows(t, map[string]string{
		"101":             "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
		"000":             "HTTP/1.1 000 None\r\nContent-Length: 0\r\n\r\n",
		"099":             "HTTP/1.1 099 None\r\nContent-Length: 0\r\n\r\n",
		"300":             "HTTP/1.1 300 X\r\nContent-Length: 0\r\n\r\n",
		"303":             "HTTP/1.1 303 See Other\r\nLocation: /done\r\nContent-Length: 0\r\n\r\n",
		"304":             "HTTP/1.1 304 Not Modified\r\n\r\n",
		"307":             "HTTP/1.1 307 X\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
		"204":             "HTTP/1.1 204 No Content\r\n\r\n",
		"200 http10":      "HTTP/1.0 200 OK\r\n\r\n{\"accepted\":true}",
		"http09":          "{\"accepted\":true}",
		"http2":           "HTTP/2.0 200 OK\r\n\r\n",
		"chunk garbage":   "HTTP/1.1 202 X\r\nTransfer-Encoding: chunked\r\n\r\nzzzz\r\ngarbage",
		"two lengths":     "HTTP/1.1 202 X\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n{}",
		"999":             "HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
		"100s":            strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 50),
		"103s then 202":   strings.Repeat("HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", 3) + "HTTP/1.1 202 X\r\nContent-Length: 0\r\n\r\n",
		"bad header":      "HTTP/1.1 202 X\r\nno colon\r\n\r\n",
		"huge header":     "HTTP/1.1 400 X\r\nA: " + strings.Repeat("x", 70<<10) + "\r\n\r\n",
		"cut status line": "HTTP/1.1 40",
		"cut header":      "HTTP/1.1 400 Bad\r\nConte",
		"nothing":         "",
	}, func(t *testing.T, text string) {
		b := newBetween(t, platform.StartRequest, func(_ int64, w http.ResponseWriter, pass pass) {
			pass()
			rawAnswer(w, text, 0)
		})
		b.vmBehaves(platform.Behaviour{Names: starts, Delay: 700 * time.Millisecond})
		w := b.write(b.gateway("BUS_VM_TIMEOUT=5s"), start)
		if w.status != http.StatusAccepted {
			assert.Equal(t, unknown, w.failure().Outcome, "only a 4xx says that nothing was done (contract §4): %s", w)
		}
		assert.EqualValues(t, 1, b.hits.Load(), "publishes")
	})
}

// An answer whose body stalls says what its status says, and no later.
func TestStalledPublishAnswers(t *testing.T) {
	each(t, []int{400, 503}, func(t *testing.T, code int) {
		b := newBetween(t, platform.StartRequest, func(_ int64, w http.ResponseWriter, pass pass) {
			if code == 503 {
				pass()
			}
			rawAnswer(w, fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: 10\r\n\r\n", code), 30*time.Second)
		})
		b.vmBehaves(platform.Behaviour{Names: starts, Hold: 1 << 20})
		b.wantTook(b.write(b.gateway("BUS_VM_TIMEOUT=1m"), start), 0, soon)
	})
}
