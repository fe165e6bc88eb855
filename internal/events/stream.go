package events

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/busdk/bus-api-provider-vm/internal/backoff"
)

// stream keeps one reply stream open and hands out what comes on it.
type stream struct {
	liveness
	client  *Client
	reply   string
	pending *pending
	observe func(Envelope)
	// onStream is told of openings and losses; wantHistory says, after an opening,
	// whether all of the history is of use.
	onStream    func(up bool)
	wantHistory func() bool

	isUp                *metrics.Gauge
	reconnects, replays *metrics.Counter
	replies, skipped    map[string]*metrics.Counter
}

func newStream(c *Client, reply string) *stream {
	set, event := c.config.Metrics, fmt.Sprintf("{event=%q", reply)
	return &stream{
		liveness:    liveness{connected: make(chan struct{}), lost: time.Now()},
		client:      c,
		reply:       reply,
		pending:     &pending{waiting: make(map[string]*call)},
		observe:     func(Envelope) {},
		onStream:    func(bool) {},
		wantHistory: func() bool { return false },
		isUp:        set.GetOrCreateGauge("bus_vm_events_stream_up"+event+"}", nil),
		reconnects:  set.GetOrCreateCounter("bus_vm_events_stream_reconnects_total" + event + "}"),
		replays:     set.GetOrCreateCounter("bus_vm_events_stream_replays_total" + event + "}"),
		replies:     counters(set, "replies_total"+event+",match=%q}", matched, late, duplicate, unmatched, history),
		skipped:     counters(set, "skipped_lines_total"+event+",reason=%q}", "malformed", "other_event", "too_long"),
	}
}

// run opens the stream again whenever it ends, until ctx does or the stream
// cannot or must not be opened again, which ends the client.
func (s *stream) run(ctx context.Context) {
	refreshed := false // the last attempt followed a change of token
	for attempt := 0; ; attempt++ {
		lived, err := s.follow(ctx)
		changed := s.client.tokenRefused(err)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errReopen):
			s.client.config.Logger.Debug("events stream ended", "event", s.reply, "cause", err)
			attempt = -1
			continue
		case changed && !refreshed:
			refreshed = true
			continue
		case !s.client.config.Retry:
			s.client.end(fmt.Errorf("the stream %s is lost, and BUS_EVENTS_LISTENER_RETRY is off: %w", s.reply, err))
			return
		}
		refreshed = false
		if lived >= healthyAfter {
			attempt = 0
		}
		news := s.client.outage.begin(s.reply, err)
		if !s.backOff(ctx, attempt, news, "events stream is down, and others may be for the same cause; requests that need one are refused "+
			"until it is back; check the Events API, its URL and the token", err) {
			return
		}
	}
}

// outage is a time without all of the streams.
type outage struct {
	mu     sync.Mutex
	since  time.Time
	down   map[string]string // the last cause of each, by reply
	causes map[string]bool   // that were told since a stream came back, or are the last of others
}

// maxCauses bounds what is told before a stream comes back.
const maxCauses = 3

// begin says that a stream is down, or still is, and reports whether its cause is to be
// told: once, however many streams have it.
func (o *outage) begin(reply string, cause error) (news bool) {
	for inner := cause; inner != nil; inner = errors.Unwrap(inner) {
		cause = inner // without the ports of a connection
	}
	text := strings.ReplaceAll(cause.Error(), reply, "")
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.down) == 0 {
		o.since, o.down, o.causes = time.Now(), map[string]string{}, map[string]bool{}
	}
	o.down[reply] = text
	news = !o.causes[text] && len(o.causes) < maxCauses
	if news {
		o.causes[text] = true
	}
	return news
}

// end says that a stream is up, and returns how long not all were, if all are again.
func (o *outage) end(reply string) (lasted time.Duration, over bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down[reply] == "" {
		return 0, false
	}
	delete(o.down, reply)
	clear(o.causes)
	for _, cause := range o.down {
		o.causes[cause] = true
	}
	return time.Since(o.since), len(o.down) == 0
}

// backOff logs why attempt has failed, as a warning where that is news, and
// waits until the next one; false means that ctx ended first.
func (s *stream) backOff(ctx context.Context, attempt int, news bool, message string, cause error) bool {
	config := &s.client.config
	wait := backoff.Delay(attempt, config.RetryMin, config.RetryMax, rand.Float64())
	level := slog.LevelDebug
	if news {
		level = slog.LevelWarn
	}
	// A broken server's bytes may be in the cause.
	config.Logger.Log(ctx, level, message, "event", s.reply, "cause", clean(cause.Error(), maxMessage), "wait", wait)
	select {
	case <-time.After(wait):
		return true
	case <-ctx.Done():
		return false
	}
}

// follow opens the stream and delivers what comes until it ends, which is
// always an error. It returns how long the stream was open.
func (s *stream) follow(ctx context.Context) (lived time.Duration, _ error) {
	conn, err := s.client.listen(ctx, s.reply, "", idleWatchdog, s.heard)
	if err != nil {
		return 0, err
	}
	s.onStream(true)
	s.open(conn)
	if lasted, over := s.client.outage.end(s.reply); over {
		s.client.config.Logger.Info("all events streams are up again", "outage", lasted.Round(time.Millisecond))
	}

	var replay sync.WaitGroup
	replay.Go(func() { s.catchUp(conn) })
	err = s.deliverLines(conn, s.deliver)

	s.onStream(false)
	s.lose()
	conn.Close()
	replay.Wait()
	return time.Since(conn.opened), cmp.Or(err, errEnded)
}

// deliverLines reads lines of in and hands their envelopes to deliver. Lines that
// are no envelope of this stream are counted and skipped. The error is nil at an end
// that is in order, and a strangeError where there was nothing but such lines.
func (s *stream) deliverLines(in io.Reader, deliver func(Envelope)) error {
	lines := bufio.NewReaderSize(in, lineBuffer)
	var strange strangeError // the first line, as long as there was no envelope
	envelopes := false
	for {
		line, err := nextLine(lines, maxLine)
		if errors.Is(err, errLineTooLong) {
			s.skipped["too_long"].Inc()
			continue
		}
		if len(line) > 0 {
			e, ok := decode(line)
			envelopes = envelopes || ok
			switch {
			case !ok:
				s.skipped["malformed"].Inc()
				strange = cmp.Or(strange, strangeError(line[:min(len(line), maxMessage)]))
			case e.Name != "" && e.Name != s.reply:
				s.skipped["other_event"].Inc()
			default:
				e.Name = s.reply
				deliver(e)
			}
		}
		switch {
		case errors.Is(err, io.EOF) && !envelopes && strange != "":
			return strange
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// strangeError is the first line of an answer that held no envelope at all: a
// page of a proxy, for example.
type strangeError string

func (e strangeError) Error() string {
	return fmt.Sprintf("the answer is no event stream, it begins %q; check the Events URL", clean(string(e), maxType))
}

var errEnded = errors.New("the Events API ended the stream")

// deliver gives e to the request that waits for it, which decodes it, or to observe.
func (s *stream) deliver(e Envelope) {
	fate := s.pending.deliver(e)
	if fate.observe {
		s.observe(e)
	}
	s.replies[fate.kind].Inc()
}

// catchUp makes up for replies that may have been sent before conn was opened, beside
// conn, which is followed meanwhile. A question is asked again, which has the same reply;
// for anything else all of the history is read, which is tried until conn ends.
func (s *stream) catchUp(conn *connection) {
	missed := false
	for _, c := range s.pending.wanted(conn.opened) {
		if c.Lifecycle {
			missed = true
		} else {
			s.client.publish(c, s.pending)
		}
	}
	missed = missed || s.wantHistory()
	for attempt := 0; missed; attempt++ {
		err := s.replay(conn.ctx)
		s.client.tokenRefused(err)
		if err == nil || conn.ctx.Err() != nil || !s.backOff(conn.ctx, attempt, attempt == 0, "events replay failed, and is tried again; "+
			"requests from before the stream came back may find no reply until it succeeds", err) {
			return
		}
	}
}

// replay reads the history once. It is finite (`follow=false`), so the followed stream
// itself carries nothing old.
func (s *stream) replay(ctx context.Context) error {
	s.replays.Inc()
	conn, err := s.client.listen(ctx, s.reply, historyOnly, headerTimeout, func() {})
	if err != nil {
		return err
	}
	defer conn.Close()
	err = s.deliverLines(conn, func(e Envelope) {
		e.Replayed = true
		s.deliver(e)
	})
	if strange, ok := errors.AsType[strangeError](err); ok && strange[0] == '{' {
		return nil // it may be a malformed envelope, the only one of the history
	}
	return err
}
