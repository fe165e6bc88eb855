package faults

import (
	"net/http"
	"testing"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// What the reply streams may look like. Rows without losses must not be felt
// by any caller; where lines are lost, callers get 503 and records their end.
func TestLines(t *testing.T) {
	type row struct {
		faults platform.Faults
		loses  bool
	}
	rows(t, map[string]row{
		"garbage lines":           {platform.Faults{GarbageLines: true}, false},
		"blank lines":             {platform.Faults{Blank: true}, false},
		"CR LF":                   {platform.Faults{CRLF: true}, false},
		"unknown members":         {platform.Faults{Unknown: true}, false},
		"correlation_id":          {platform.Faults{SnakeID: true}, false},
		"both spellings":          {platform.Faults{SnakeID: true, BothIDs: true}, false},
		"twice":                   {platform.Faults{Duplicate: true}, false},
		"foreign replies":         {platform.Faults{Foreign: 20}, false},
		"out of order":            {platform.Faults{Reorder: 5}, false},
		"1 MB":                    {platform.Faults{LongLine: 1 << 20}, false},
		"all of it":               {platform.Faults{GarbageLines: true, Blank: true, CRLF: true, Unknown: true, SnakeID: true, BothIDs: true, Duplicate: true, Foreign: 2, Reorder: 3, LongLine: 100_000, Rate: .5}, false},
		"8 MB":                    {platform.Faults{LongLine: 8 << 20}, true},
		"8 MB, some":              {platform.Faults{LongLine: 8 << 20, Rate: .1}, true},
		"truncated":               {platform.Faults{Truncate: true}, true},
		"truncated, some":         {platform.Faults{Truncate: true, Rate: .1}, true},
		"cut in the middle, some": {platform.Faults{CutLine: true, Rate: .2}, true},
	}, func(t *testing.T, c row) {
		r := newRig(t)
		timeout, callers := unhurried, 3
		if c.loses {
			timeout = hurried
		}
		if c.faults.LongLine > 1<<20 {
			callers = 0 // each line costs the platform dearly
		}
		g := r.gateway(timeout)
		r.Events.SetFaults(c.faults)
		end := r.callers(g, callers)
		for range 3 {
			r.write(g, start)
			r.read(g)
		}
		end()
		r.heal()
		r.back(g)
		if c.loses {
			r.onlyStatuses(http.StatusAccepted, http.StatusServiceUnavailable)
		} else {
			r.onlyStatuses(http.StatusAccepted)
		}
	})
}
