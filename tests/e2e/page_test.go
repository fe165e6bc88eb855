package e2e

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

var update = flag.Bool("update", false, "take the picture of the page for the README")

// browser is a real one, without a window, on one page.
type browser struct {
	t    *testing.T
	ctx  context.Context
	mu   sync.Mutex
	said []chromedp.ConsoleMessage
}

func open(t *testing.T, url string) *browser {
	t.Helper()
	harness.Needs(t, "chromium")
	ctx, end := chromedp.NewContext(t.Context(), chromedp.WithAllocatorOptions(
		chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true), chromedp.WSURLReadTimeout(harness.WaitLimit)))
	t.Cleanup(end)
	b := &browser{t: t, ctx: ctx}
	console := chromedp.Console(ctx)
	go func() { // until the browser ends
		for message, err := range console {
			if err != nil {
				return
			}
			b.mu.Lock()
			b.said = append(b.said, message)
			b.mu.Unlock()
		}
	}()
	b.do(chromedp.EmulateViewport(1000, 1000), chromedp.Navigate(url))
	return b
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, harness.WaitLimit)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, steps...))
}

// askPage returns what an expression is on the page.
func askPage[T any](b *browser, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, harness.WaitLimit)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	require.NoError(b.t, err, expression)
	return value
}

// shows waits until the element with that id shows a text.
func (b *browser) shows(id, text string) {
	b.t.Helper()
	var shown string
	defer func() {
		if b.t.Failed() {
			b.t.Logf("#%s shows %q", id, shown)
		}
	}()
	harness.Eventually(b.t, "#"+id+" shows "+text, func() bool {
		shown = askPage[string](b, `document.getElementById('`+id+`').innerText`)
		return strings.Contains(shown, text)
	})
}

// answers presses a button with a token put in.
func (b *browser) answers(button, token string, texts ...string) {
	b.t.Helper()
	b.do(chromedp.SetValue(chromedp.ID("token"), token), chromedp.Click(chromedp.ID(button)))
	for _, text := range texts {
		b.shows("answer", text)
	}
}

// emulate sets a media feature.
func (b *browser) emulate(name, value string) {
	b.t.Helper()
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: name, Value: value}}})
		return err
	}))
}

// quiet wants nothing on the console but what the browser itself says of requests that
// failed, which were to.
func (b *browser) quiet() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, message := range b.said {
		require.True(b.t, message.Source == "network" || message.Type == chromedp.ConsoleDebug, "%s (%s, %s)", message, message.Source, message.URL)
	}
}

// lowContrast lists the texts on the page whose contrast is below 4.5 (WCAG 2.2, 1.4.3).
const lowContrast = `(() => {
  const rgb = (text) => text.match(/[\d.]+/g).map(Number)
  const light = (c) => c.slice(0, 3).map((v) => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0)
  const behind = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] === 1) return c } return [255, 255, 255] }
  return [...document.querySelectorAll('body *')].filter((e) => e.matches('input') || [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())).flatMap((e) => {
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x)
    return (a + .05) / (b + .05) < 4.5 ? [e.tagName + ': ' + e.textContent] : []
  })
})()`

// front passes all on to the admin listener. The answer to one write is lost where the
// test says so, and the stream of events is a text where the test has one.
type front struct {
	httputil.ReverseProxy
	lost   atomic.Bool
	events atomic.Pointer[string]
}

func serveFront(t *testing.T, admin string) (f *front, url string) {
	f = &front{}
	f.FlushInterval, f.ErrorLog = -1, log.New(io.Discard, "", 0)
	f.Rewrite = func(p *httputil.ProxyRequest) { p.Out.URL.Scheme, p.Out.URL.Host = "http", admin }
	f.ModifyResponse = func(answer *http.Response) error {
		if answer.Request.Method == http.MethodPost && f.lost.CompareAndSwap(true, false) {
			return io.ErrUnexpectedEOF
		}
		return nil
	}
	f.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	server := httptest.NewServer(f)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return f, server.URL
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text := f.events.Load()
	if text == nil || r.URL.Path != "/debug/events" {
		f.ReverseProxy.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, *text)
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// tells is a stream of a status and of operations.
func (f *front) tells(operations ...string) {
	text := "retry: 2000\n\nid: x.0\nevent: reset\ndata: {}\n\n:\n\nid: x.0\n" + statusEvent(worked("stopped")) + "\n"
	for i, operation := range operations {
		text += fmt.Sprintf("id: x.%d\nevent: operation\ndata: %s\n\n", i, operation)
	}
	f.events.Store(&text)
}

// A page in a real browser follows the gateway, through a restart too, and does what it
// is told to.
func TestPage(t *testing.T) {
	t.Parallel()
	harness.Needs(t, "chromium")
	admin := harness.FreeAddress(t)
	begin := func(state, transition string) *gateway {
		return serve(t, []string{"BUS_VM_ADMIN_ADDR=" + admin, "BUS_VM_STATIC_STATE=" + state, "BUS_VM_STATIC_TRANSITION=" + transition}, "--usage-backend", "memory")
	}
	g := begin("stopped", "5s") // for which "starting" is to be seen
	f, url := serveFront(t, admin)
	b := open(t, url)
	b.shows("state", "stopped")
	b.shows("link", "Connected")
	b.shows("provider", "static")
	b.shows("checks", "✓ operations store ok")
	b.shows("streams", "none are needed")
	b.shows("waiting", "0")
	b.shows("estimate", "shown while a start is under way, from 3 starts on")

	b.do(chromedp.Click(chromedp.ID("start")))
	b.shows("answer", "Put in a token first.")
	require.Equal(t, "token", askPage[string](b, `document.activeElement.id`))
	b.answers("start", "x", "token", "Get a new token", "401 invalid_auth, request ")
	b.answers("start", mint("vm:read"), "Get a token with the scope vm:write", "403 insufficient_access, request ")

	b.do(chromedp.SetValue(chromedp.ID("token"), mint("vm:write")), chromedp.Click(chromedp.ID("start")))
	b.shows("answer", "waiting for the runtime")
	b.shows("state", "starting")
	b.shows("answer", "start: the runtime is ready.")
	b.shows("state", "ready")
	require.Equal(t, "ready · VM gateway", askPage[string](b, `document.title`))
	require.Equal(t, "", askPage[string](b, `document.cookie + Object.keys(localStorage) + Object.keys(sessionStorage)`))

	// By the keyboard alone: from the token to Start, to Stop, which is pressed.
	b.do(chromedp.Focus(chromedp.ID("token")))
	for _, id := range []string{"start", "stop"} {
		b.do(chromedp.KeyEvent(kb.Tab))
		require.Equal(t, id+" solid", askPage[string](b, `document.activeElement.id + ' ' + getComputedStyle(document.activeElement).outlineStyle`))
	}
	b.do(chromedp.KeyEvent(kb.Enter))
	b.shows("answer", "stop: the runtime is stopped.")
	b.shows("state", "stopped")

	g.stop(t)
	b.shows("link", "Not connected since")
	b.shows("state", "stopped") // as it was
	require.True(t, askPage[bool](b, `document.body.classList.contains('stale')`))
	b.answers("start", mint("vm:write"), "start: no answer", "Press the button again: it is not done twice.")
	begin("ready", "1s")
	b.shows("state", "ready")
	b.shows("link", "Connected")
	require.False(t, askPage[bool](b, `document.body.classList.contains('stale')`))

	// What is sent again is the last write alone: one after it has ended what was before.
	f.lost.Store(true)
	b.answers("stop", mint("vm:write"), "stop: no answer")
	b.shows("state", "stopped")
	b.answers("start", mint("vm:write"), "start: the runtime is ready.")
	b.answers("stop", mint("vm:write"), "stop: the runtime is stopped.")
	b.quiet()
}

// takePicture keeps the picture of the README, when it is asked to.
func takePicture(t *testing.T, b *browser) {
	const path, most = "../../docs/page.png", 150 << 10
	if *update {
		b.emulate("prefers-color-scheme", "light")
		b.do(chromedp.EmulateViewport(960, askPage[int64](b, `document.documentElement.scrollHeight`)))
		picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, picture, 0o644))
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.LessOrEqual(t, info.Size(), int64(most))
}

// sampleOperations are as the stream tells them to a page of a runtime that rests
// again, and a start after them. U+2028 ends no line of it.
func sampleOperations(now time.Time, requestID string) (rested []string, underWay string) {
	at := func(ago time.Duration) string { return strconv.Quote(now.Add(-ago).UTC().Format(time.RFC3339Nano)) }
	operation := func(id, action, requestID string, ago time.Duration, more string) string {
		return fmt.Sprintf(`{"id":"%s","action":"%s","request_id":"%s","requested_at":%s,%s}`, id, action, requestID, at(ago), more)
	}
	usage := func(action, end string, ago time.Duration) string {
		delivered := ""
		if ago > 0 {
			delivered = `,"delivered_at":` + at(ago)
		}
		return `"usage":[{"event_id":"a","event_type":"runtime_` + action + `_requested","delivered_at":` + at(0) + `},{"event_id":"b","event_type":"runtime_` + action + `_` + end + `"` + delivered + `}]`
	}
	const estimate = `"estimate":{"p50_seconds":40.6,"p90_seconds":57.2,"samples":20,"overdue":false}`
	return []string{
			operation("1", "start", requestID+"4", 50*time.Minute, `"accepted_at":`+at(50*time.Minute)+`,"outcome":"accepted",`+estimate),
			operation("1", "start", requestID+"4", 50*time.Minute, `"accepted_at":`+at(50*time.Minute)+`,"reached_at":`+at(49*time.Minute+20*time.Second)+`,"outcome":"accepted",`+usage("start", "finished", time.Second)),
			operation("2", "stop", requestID+"6", 40*time.Minute, `"accepted_at":`+at(40*time.Minute)+`,"reached_at":`+at(39*time.Minute)+`,"outcome":"accepted",`+usage("stop", "finished", time.Second)),
			operation("3", "start", requestID+"9", 30*time.Minute, `"outcome":"rejected","joined":true,"error":{"type":"quota`+"\u2028"+`","message":"There is no GPU left in this zone."},`+usage("start", "failed", time.Second)),
		},
		operation("4", "start", requestID+"b", 10*time.Second, `"accepted_at":`+at(9*time.Second)+`,"outcome":"accepted",`+usage("start", "finished", 0)+`,`+estimate)
}

// It is readable on a phone, in the dark and without motion, with what billing says and
// what to do about it.
func TestPageIsReadable(t *testing.T) {
	t.Parallel()
	harness.Needs(t, "chromium")
	s := serveStack(t, "BUS_VM_TIMEOUT=10s")
	s.platform.Billing.Decide("", platform.Decision{Reason: "billing_required", Command: "bus billing setup", RecommendedPlan: "gpu-small"})
	f, url := serveFront(t, s.admin)
	operations, _ := sampleOperations(time.Now(), "5cbdbf5fab509da1100000000000000")
	f.tells(operations...)
	b := open(t, url)
	b.do(chromedp.EmulateViewport(960, 1000))
	b.shows("streams", "✓ stream bus.usage.record.response ok")
	b.shows("operations", "usage: 2 of 2 delivered")
	b.shows("operations", "There is no GPU left in this zone.")
	require.Equal(t, "41 s; 9 of 10 within 58 s", askPage[string](b, `document.getElementById('estimate').innerText`))
	require.Empty(t, askPage[[]string](b, `[...document.querySelectorAll('#operations > li > :last-child')].filter((e) => e.getBoundingClientRect().height > 30).map((e) => e.innerText)`), "a request id on one line")
	takePicture(t, b)
	b.answers("start", mint("vm:write"), "Nothing was done.", "The account needs a plan", "Run: bus billing setup", "Recommended plan: gpu-small", "402 billing_required, request ")

	rested, underWay := sampleOperations(time.Now(), strings.Repeat("long-request-id", 8))
	f.tells(append(rested, underWay)...)
	b.do(chromedp.Reload())
	b.shows("operations", "long-request-id")
	b.shows("operations", "usage: 1 of 2 delivered")
	b.shows("estimate", "s left; usually 41 s; 9 of 10 within 58 s")
	b.answers("start", mint("vm:write"), "Recommended plan: gpu-small")
	for _, scheme := range []string{"light", "dark"} {
		b.emulate("prefers-color-scheme", scheme)
		require.Empty(t, askPage[[]string](b, lowContrast), scheme)
	}
	require.Equal(t, "rgb(13, 17, 23)", askPage[string](b, `getComputedStyle(document.body).backgroundColor`))
	const animation = `document.getElementById('state').classList.add('moving'); getComputedStyle(document.getElementById('state')).animationName`
	b.emulate("prefers-reduced-motion", "reduce")
	require.Equal(t, "none", askPage[string](b, animation))
	b.emulate("prefers-reduced-motion", "no-preference")
	require.Equal(t, "moving", askPage[string](b, animation))
	b.do(chromedp.EmulateViewport(360, 800))
	require.Equal(t, []int{360, 360}, askPage[[]int](b, `[innerWidth, document.documentElement.scrollWidth]`))
	require.Empty(t, askPage[[]string](b, `[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > 360 || !e.matches('input') && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline').map((e) => e.outerHTML)`))
	require.Empty(t, askPage[[]string](b, `[...document.querySelectorAll('button, input')].filter((e) => e.getBoundingClientRect().height < 44).map((e) => e.id)`), "for a thumb")
	b.quiet()
}
