package faults

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// hangs is a gateway beside things that can be made to hang, before its start or
// while it runs.
type hangs struct {
	*rig
	g       *gateway
	home    string
	command *exec.Cmd
	log     *os.File      // its stderr: our end of the pipe
	pumped  chan struct{} // closed when no more of it is read
	notify  *harness.Manager
}

// hangDelay and hangTimeout are the shutdown delay and timeout here. The process
// must be gone hangLimit after SIGTERM. What hangs does so for an hour, so a test only
// fails when a busy machine cannot have made the difference.
const (
	hangDelay   = 200 * time.Millisecond
	hangTimeout = time.Second
	hangLimit   = hangDelay + hangTimeout + time.Second
	busy        = 10 * time.Second
)

// hanging is a row: what hangs, and what then goes on. Everything else does in
// every row.
type hanging struct {
	hang func(*hangs)
	// refused are words of the message with which a start ends; none: it serves.
	refused []string
	// keeps: a reload fails, and what was good stays in force.
	keeps bool
	// unwritable: starts and stops are refused, and /readyz is 503.
	unwritable bool
}

var hangingThings = map[string]hanging{
	"log: pipe full":                   {hang: (*hangs).fillLog},
	"log: reader gone":                 {hang: func(h *hangs) { require.NoError(h.t, h.log.Close()) }},
	"notify socket full":               {hang: (*hangs).fillNotify},
	"settings file: FIFO":              {fifo("settings.yaml"), []string{"settings.yaml", notRegular}, true, false},
	"token file: FIFO":                 {fifo("token"), []string{"events.token_file", notRegular}, true, false},
	"secret file: FIFO":                {fifo("secrets"), []string{"jwt.secret_file", notRegular}, true, false},
	"JWKS file: FIFO":                  {fifo("jwks"), []string{"jwt.jwks_file", notRegular}, true, false},
	"settings file: file system hangs": {unreadable("settings.yaml"), []string{"settings.yaml", noAnswer}, true, false},
	"token file: file system hangs":    {unreadable("token"), []string{"events.token_file", noAnswer}, true, false},
	"secret file: file system hangs":   {unreadable("secrets"), []string{"jwt.secret_file", noAnswer}, true, false},
	"JWKS file: file system hangs":     {unreadable("jwks"), []string{"jwt.jwks_file", noAnswer}, true, false},
	"operations store: sync hangs":     {hang: (*hangs).hangSync, refused: []string{"operations store", "did not open within"}, unwritable: true},
}

const (
	notRegular = "is no regular file"
	noAnswer   = "did not answer within"
)

// What hangs holds up nothing else: neither the start, or its refusal, nor reads,
// a reload, the probes, or the stop.
func TestNothingWaitsForWhatHangs(t *testing.T) {
	rows(t, hangingThings, func(t *testing.T, row hanging) {
		t.Run("from the start", func(t *testing.T) {
			h := newHangs(t)
			row.hang(h)
			h.start()
			if row.refused != nil {
				h.wantRefusal(row.refused)
				return
			}
			h.goesOn(row)
		})
		t.Run("while it runs", func(t *testing.T) {
			h := newHangs(t)
			h.start()
			h.serves()
			row.hang(h)
			h.goesOn(row)
		})
	})
}

// SIGTERM ends a start that hangs.
func TestStopWhileTheStartHangs(t *testing.T) {
	h := newHangs(t)
	h.hangSync()
	h.start()
	require.True(t, eventually(func() bool {
		_, err := os.Stat(filepath.Join(h.g.data, "operations.db"))
		return err == nil
	}))
	require.True(t, eventually(h.syncs), "no sync has begun")
	h.stops()
	h.g.wantLog("operations store")
	h.startsAgain()
}

// Lines that the log did not take are counted, and one line says how many when it
// takes lines again. What the process says last is still written.
func TestLogLinesAreDropped(t *testing.T) {
	h := newHangs(t)
	h.start()
	h.serves()
	h.fillLog()
	const dropped = "bus_vm_log_dropped_lines_total"
	request := "GET /api/v1/vm/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a.b.c\r\nX-Request-Id: " + strings.Repeat("x", 100) + "\r\n"
	require.True(t, eventually(func() bool {
		exchange(h.g.addr, strings.Repeat(request+"\r\n", 200)+request+"Connection: close\r\n\r\n")
		n, _ := h.g.metric(dropped)
		return n > 0
	}))
	h.pump()
	told := regexp.MustCompile(`msg="log lines were dropped.*? lines=([0-9]+)`)
	require.True(t, eventually(func() bool {
		sum := 0
		for _, match := range told.FindAllStringSubmatch(h.g.log.all(), -1) {
			lines, err := strconv.Atoi(match[1])
			require.NoError(t, err)
			sum += lines
		}
		n, _ := h.g.metric(dropped)
		return sum == int(n)
	}), h.g.log)
	h.wantWrite(h.g, start, http.StatusAccepted, "")
	h.stops()
	h.g.wantLog("msg=drained")
}
