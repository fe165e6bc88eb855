package outbox

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

const (
	childEnv    = "BUS_VM_OUTBOX_CHILD"
	childDirEnv = "BUS_VM_OUTBOX_CHILD_DIR"

	// killRounds is how often the process is killed; BUS_VM_KILL_ROUNDS and
	// BUS_VM_KILL_SEED change it and the seed.
	killRounds = 30
	killSeed   = 20261123
	// killAfter bounds the life of a child once it has begun to work.
	killAfter = 80 * time.Millisecond
)

// children are the parts that the test binary plays in a process of its own.
var children = map[string]func(dir string) error{
	"open": func(dir string) error {
		o, err := Open(Config{Dir: dir, Sender: newSink(nil)})
		if err != nil {
			return err
		}
		return o.Close()
	},
	"work": work,
}

func child(t *testing.T, part, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+part, childDirEnv+"="+dir)
	return cmd
}

// teller is the sender of a child: what it acknowledges is on its way to the
// parent first. Each line is one write, so a kill cuts none.
type teller struct{ out *os.File }

func (w teller) Send(_ context.Context, r usage.Record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if rand.IntN(8) == 0 {
		return errDown
	}
	return w.tell("delivered", string(text))
}

func (w teller) tell(words ...string) error {
	_, err := w.out.WriteString(strings.Join(words, " ") + "\n")
	return err
}

// work writes operations until it is killed, and tells what it was promised.
func work(dir string) error {
	w := teller{os.Stdout}
	o, err := Open(Config{Dir: dir, Sender: w, LateReply: 20 * time.Millisecond, RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond})
	if err != nil {
		return err
	}
	for range 20 {
		go func() {
			for {
				op := newOperation()
				if o.Requested(context.Background(), op) != nil {
					continue
				}
				_ = w.tell("requested", op.ID)
				time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond)
				outcome := []lifecycle.Outcome{lifecycle.Accepted, lifecycle.Rejected, lifecycle.Unknown}[rand.IntN(3)]
				if o.Ended(op, outcome, time.Millisecond) == nil {
					_ = w.tell("ended", op.ID, string(outcome))
				}
			}
		}()
	}
	return o.Run(context.Background())
}

// told is what the killed processes have promised and delivered.
type told struct {
	requested map[string]bool
	ended     map[string]string // operation → outcome
	delivered map[string][]usage.Record
	order     map[string]int // event id → position of its first delivery
}

func (w *told) hear(t *testing.T, line string) {
	words := strings.SplitN(line, " ", 2)
	switch words[0] {
	case "requested":
		w.requested[words[1]] = true
	case "ended":
		id, outcome, _ := strings.Cut(words[1], " ")
		w.ended[id] = outcome
	case "delivered":
		var r usage.Record
		if err := json.Unmarshal([]byte(words[1]), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		w.deliver(r)
	default:
		t.Fatalf("the child says %q", line)
	}
}

func (w *told) deliver(r usage.Record) {
	if len(w.delivered[r.EventID]) == 0 {
		w.order[r.EventID] = len(w.order)
	}
	w.delivered[r.EventID] = append(w.delivered[r.EventID], r)
}

// TestKill kills a working process at random moments, again and again on one
// directory, and checks in the end that each kept every guarantee.
func TestKill(t *testing.T) {
	rounds, seed := number(t, "BUS_VM_KILL_ROUNDS", killRounds), number(t, "BUS_VM_KILL_SEED", killSeed)
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	t.Logf("%d rounds, seed %d", rounds, seed)
	dir := t.TempDir()
	heard := &told{requested: map[string]bool{}, ended: map[string]string{}, delivered: map[string][]usage.Record{}, order: map[string]int{}}
	for range rounds {
		killed(t, dir, time.Duration(random.Int64N(int64(killAfter))), heard)
	}
	s := newSink(nil)
	left := 0
	o := start(t, Config{Dir: dir, Sender: s}, func(o *Outbox) { left = o.Stats().Records })
	for _, record := range s.await(t, left) {
		heard.deliver(record)
	}
	o.stop()
	assert.Zero(t, o.Stats(), "still undelivered")
	heard.check(t)
}

// killed runs a child, kills it after a while of work, and hears it out.
func killed(t *testing.T, dir string, after time.Duration, heard *told) {
	t.Helper()
	cmd := child(t, "work", dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	var once sync.Once
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF && line == "" {
			break
		}
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		heard.hear(t, strings.TrimSuffix(line, "\n"))
		once.Do(func() { time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) })
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Fatalf("the child ended by itself: %v", err)
	}
}

func (w *told) check(t *testing.T) {
	t.Helper()
	if len(w.requested) == 0 || len(w.ended) == 0 {
		t.Fatalf("nothing was promised: %d requested, %d ended", len(w.requested), len(w.ended))
	}
	repeated := 0
	for id, copies := range w.delivered {
		for _, c := range copies[1:] {
			repeated++
			if !equal([]usage.Record{c}, copies[:1]) {
				t.Errorf("event %s was delivered with two contents:\n%+v\n%+v", id, copies[0], c)
			}
		}
	}
	for op := range w.requested {
		begin, end := usage.EventID(op, usage.PhaseRequested), usage.EventID(op, usage.PhaseEnded)
		switch {
		case len(w.delivered[begin]) == 0 || len(w.delivered[end]) == 0:
			t.Errorf("operation %s was lost: %d and %d deliveries", op, len(w.delivered[begin]), len(w.delivered[end]))
		case w.order[begin] > w.order[end]:
			t.Errorf("operation %s ended before it began", op)
		case w.ended[op] != "" && string(w.delivered[end][0].Data.Outcome) != w.ended[op]:
			t.Errorf("operation %s ended as %s, delivered %s", op, w.ended[op], w.delivered[end][0].Data.Outcome)
		}
	}
	if len(w.delivered)%2 != 0 {
		t.Errorf("%d different records delivered: one has no other half", len(w.delivered))
	}
	t.Logf("%d operations promised, %d records delivered, %d of them again", len(w.requested), len(w.delivered), repeated)
}

func number(t *testing.T, env string, otherwise int) int {
	t.Helper()
	text := os.Getenv(env)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", env, err))
	}
	return n
}

// TestMain lets the test binary play the processes that the tests kill.
func TestMain(m *testing.M) {
	if play := children[os.Getenv(childEnv)]; play != nil {
		if err := play(os.Getenv(childDirEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}
