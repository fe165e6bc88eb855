package replicas

import (
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
	"github.com/busdk/bus-api-provider-vm/tests/postgres"
)

// link is the way of one gateway to the database, which can be cut: then no byte
// passes, and no end of a connection either.
type link struct {
	listener net.Listener
	target   string
	url      string // of the database, through the link

	mu  sync.Mutex
	cut chan struct{} // closed while bytes pass
}

// newLink makes a link to the database at address.
func newLink(t *testing.T, address string) *link {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &link{listener: listener, target: u.Host, cut: make(chan struct{})}
	close(l.cut)
	go l.serve() // until the end of the test closes the listener
	t.Cleanup(func() { _ = listener.Close() })
	u.Host = listener.Addr().String()
	l.url = u.String()
	return l
}

func (l *link) serve() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", l.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
			go func() {
				defer near.Close()
				defer far.Close()
				b := make([]byte, 64<<10)
				for {
					n, err := way[0].Read(b)
					<-l.passes()
					if err != nil {
						return
					}
					if _, err := way[1].Write(b[:n]); err != nil {
						return
					}
				}
			}()
		}
	}
}

func (l *link) passes() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut
}

// sever cuts the link until mend is called.
func (l *link) sever() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = make(chan struct{})
}

func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.cut:
	default:
		close(l.cut)
	}
}

// A gateway that is cut off from the database refuses writes and nothing else, while
// the others go on. What it had sent to be committed when it was cut off, it never
// publishes, although the database committed it.
func TestPartition(t *testing.T) {
	t.Parallel()
	r := newRig(t, postgres.Start(t), 1)
	alone, away := r.gateways[0], r.links[0]
	quick := r.slowCommits()
	answer := r.behind(alone, start)
	r.awaitCount(1, `select count(*) from pg_stat_activity where query = 'commit' and state = 'active'`)
	away.sever()
	r.awaitCount(1, `select count(*) from operations`) // committed, and the gateway is not told
	c := <-answer
	assert.Equal(t, "not_sent", c.outcome(), c)
	quick()
	refused := r.write(alone, start)
	assert.Equal(t, "not_sent", refused.outcome(), refused)
	r.inTime(refused.took, 3*time.Second, "the refusal")
	assert.Equal(t, http.StatusOK, r.read(alone).status)
	for _, g := range r.gateways[1:] {
		other := r.write(g, stop)
		assert.Equal(t, http.StatusAccepted, other.status, other)
	}
	away.mend()
	r.awaitCount(1, `select count(*) from operations where outcome = 'not_sent'`)
	assert.Zero(t, r.Events.Accepted(platform.StartRequest))
}

// The repetition of a write on a gateway whose replies are held up on their way: no read
// there shows a state from before the write.
func TestRepeatedWhereRepliesAreLate(t *testing.T) {
	t.Parallel()
	r := newRig(t, postgres.Start(t), 1)
	replies := newLink(t, r.URL())
	r.gateways[1].stop()
	r.gateways[1] = r.launch(1, "BUS_EVENTS_API_URL="+replies.url, "BUS_EVENTS_LISTENER_REQUIRED=1", "BUS_VM_STATUS_REFRESH=5s", "BUS_VM_STATUS_MAX_AGE=10s")
	r.gateways[1].awaitReady()
	require.Contains(t, r.read(r.gateways[1]).body, `"stopped"`)
	replies.sever()
	defer replies.mend()
	c := r.make(&call{gateway: r.gateways[0], action: start, account: uuid.NewString(), requestID: uuid.NewString(), key: "k"})
	require.Equal(t, http.StatusAccepted, c.status, c)
	again := *c
	again.gateway = r.gateways[1]
	again.do(http.MethodPost, "/api/v1/vm/start")
	require.Equal(t, http.StatusAccepted, again.status, &again)
	require.True(t, again.replayed())
	require.NotContains(t, r.read(r.gateways[1]).body, `"stopped"`)
}

// Three gateways behind nginx: one after the other is killed and comes back, while
// callers start and stop. Each request goes to one gateway, once.
func TestBehindNginx(t *testing.T) {
	t.Parallel()
	r := newRig(t, postgres.Start(t), 1)
	shipped, err := os.ReadFile("../../deploy/nginx/bus-vm.conf")
	require.NoError(t, err)
	var addrs []string
	for _, g := range r.gateways {
		addrs = append(addrs, g.addr())
	}
	front := &gateway{t: t, front: harness.Nginx(t, string(shipped), addrs...)}
	quit := r.calling(6, 5*time.Millisecond, func(int) (*gateway, int) { return front, 0 })
	for i, g := range r.gateways {
		time.Sleep(100 * time.Millisecond) // what is under way when it dies, and while it is away, is the point
		g.kill()
		time.Sleep(100 * time.Millisecond)
		r.gateways[i] = r.launch(i, "BUS_VM_ADDR="+addrs[i])
		r.gateways[i].awaitReady()
	}
	quit()
	accepted := 0
	for _, c := range r.calls {
		if c.status == http.StatusAccepted {
			accepted++
		}
	}
	assert.Greater(t, accepted, len(r.calls)/3)
}

// A maintenance session locks rows again and again, each time for less than a write may
// take, while callers start and stop by all gateways and inserts are slow: no gateway says
// that its store takes no writes, and no record is lost or repeated.
func TestRowsAreLocked(t *testing.T) {
	t.Parallel()
	r := newRig(t, postgres.Start(t), 1)
	r.Usage.SetBehaviour(platform.Behaviour{Duplicate: 2, Jitter: 300 * time.Millisecond})
	r.execute(`create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.02); return new; end'`)
	r.execute(`create trigger slow before insert on operations for each row execute function slow()`)
	quit := r.calling(12, time.Millisecond, func(turn int) (*gateway, int) { return r.gateways[turn%replicas], turn % 2 })
	for range 8 {
		tx, err := r.db.Begin()
		require.NoError(t, err)
		_, err = tx.Exec(`select from operations where outcome = '' or sent < records or slot = 1 order by random() limit 3 for update`)
		require.NoError(t, err)
		time.Sleep(400 * time.Millisecond) // it holds them
		require.NoError(t, tx.Rollback())
		time.Sleep(100 * time.Millisecond)
	}
	quit()
	r.execute(`drop trigger slow on operations`)
	for _, g := range r.gateways {
		assert.NotContains(t, g.log.String(), "does not take writes")
	}
}
