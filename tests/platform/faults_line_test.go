package platform_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// Each line fault, and what a listener reads of one event under it.
func TestLineFaults(t *testing.T) {
	whole := func(t *testing.T, line string) map[string]any {
		t.Helper()
		var env map[string]any
		must(t, json.Unmarshal([]byte(line), &env))
		return env
	}
	is := func(t *testing.T, line string) {
		t.Helper()
		equal(t, "correlationId", whole(t, line)["correlationId"], any("c"))
	}
	isNot := func(t *testing.T, line string) {
		t.Helper()
		if json.Valid([]byte(line)) {
			t.Fatalf("valid JSON: %q", line)
		}
	}
	for name, c := range map[string]struct {
		faults platform.Faults
		check  func(*testing.T, *reader)
	}{
		"none": {platform.Faults{}, func(t *testing.T, r *reader) {
			is(t, r.next(t))
		}},
		"garbage lines": {platform.Faults{GarbageLines: true}, func(t *testing.T, r *reader) {
			isNot(t, r.next(t))
			is(t, r.next(t))
		}},
		"truncate": {platform.Faults{Truncate: true}, func(t *testing.T, r *reader) {
			isNot(t, r.next(t))
		}},
		"cut line": {platform.Faults{CutLine: true}, func(t *testing.T, r *reader) {
			line := r.next(t)
			isNot(t, line)
			if strings.HasSuffix(line, "\n") {
				t.Fatalf("the line has its end: %q", line)
			}
			if err := r.end(t); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("ended with %v", err)
			}
		}},
		"1 MB line": {platform.Faults{LongLine: 1 << 20}, longLine(1 << 20)},
		"8 MB line": {platform.Faults{LongLine: 8 << 20}, longLine(8 << 20)},
		"repeated id": {platform.Faults{RepeatID: true}, func(t *testing.T, r *reader) {
			line := r.next(t)
			is(t, line) // of two members encoding/json takes the last
			equal(t, "ids", strings.Count(line, `"correlationId":`), 2)
		}},
		"blank": {platform.Faults{Blank: true}, func(t *testing.T, r *reader) {
			equal(t, "lines", []string{r.next(t), r.next(t), r.next(t)}, []string{"\n", " \t\n", "\r\n"})
			is(t, r.next(t))
		}},
		"CRLF": {platform.Faults{CRLF: true}, func(t *testing.T, r *reader) {
			line := r.next(t)
			is(t, line)
			if !strings.HasSuffix(line, "}\r\n") {
				t.Fatalf("line ends with %q", line[len(line)-3:])
			}
		}},
		"unknown members": {platform.Faults{Unknown: true}, func(t *testing.T, r *reader) {
			line := r.next(t)
			is(t, line)
			if _, ok := whole(t, line)["x_future"]; !ok {
				t.Fatalf("no unknown member in %s", line)
			}
		}},
		"snake case": {platform.Faults{Spelling: platform.SpellSnake}, func(t *testing.T, r *reader) {
			env := whole(t, r.next(t))
			equal(t, "ids", []any{env["correlationId"], env["correlation_id"]}, []any{nil, "c"})
		}},
		"both spellings": {platform.Faults{Spelling: platform.SpellBoth}, func(t *testing.T, r *reader) {
			env := whole(t, r.next(t))
			equal(t, "ids", []any{env["correlationId"], env["correlation_id"]}, []any{"c", "c"})
		}},
		"duplicate": {platform.Faults{Duplicate: true}, func(t *testing.T, r *reader) {
			first, second := r.next(t), r.next(t)
			is(t, first)
			equal(t, "second", second, first)
		}},
		"strangers": {platform.Faults{Strangers: 2}, func(t *testing.T, r *reader) {
			first, second := whole(t, r.next(t)), whole(t, r.next(t))
			for _, env := range []map[string]any{first, second} {
				equal(t, "name", env["name"], any(pong))
				if env["correlationId"] == "c" || env["correlationId"] == "" {
					t.Fatalf("no stranger: %v", env)
				}
			}
			is(t, r.next(t))
		}},
		"many at once": {
			platform.Faults{Blank: true, CRLF: true, Unknown: true, Duplicate: true, Spelling: platform.SpellBoth},
			func(t *testing.T, r *reader) {
				for range 3 {
					r.next(t)
				}
				is(t, r.next(t))
				is(t, r.next(t))
			},
		},
		"rate of nearly nothing": {platform.Faults{Truncate: true, Rate: 1e-12}, func(t *testing.T, r *reader) {
			is(t, r.next(t))
		}},
		"another name": {platform.Faults{Truncate: true, Names: []string{ping}}, func(t *testing.T, r *reader) {
			is(t, r.next(t))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEvents(t, platform.EventsConfig{})
			r := listen(t, e, "name="+pong)
			e.SetFaults(c.faults)
			send(t, pinger(t, e), pong, "c", 0)
			c.check(t, r)
			e.SetFaults(platform.Faults{})
			if c.faults.CutLine {
				r = listen(t, e, "name="+pong)
			}
			send(t, pinger(t, e), pong, "healed", 0)
			equal(t, "after healing", r.correlations(t, 1), []string{"healed"})
		})
	}
}

func longLine(size int) func(*testing.T, *reader) {
	return func(t *testing.T, r *reader) {
		t.Helper()
		line := r.next(t)
		if len(line) < size || len(line) > size+1024 {
			t.Fatalf("%d bytes", len(line))
		}
		var env struct{ CorrelationID string }
		must(t, json.Unmarshal([]byte(line), &env))
		equal(t, "correlationId", env.CorrelationID, "c")
	}
}

// Reorder changes the order, loses nothing, and is the same for the same seed.
func TestReorderIsSeeded(t *testing.T) {
	const events = 200
	inOrder := make([]string, events)
	for i := range inOrder {
		inOrder[i] = fmt.Sprint(i)
	}
	heard := func(seed uint64, query string) []string {
		e := startEvents(t, platform.EventsConfig{Seed: seed})
		c := pinger(t, e)
		for _, id := range inOrder {
			send(t, c, pong, id, 0)
		}
		e.SetFaults(platform.Faults{Reorder: 20})
		return listen(t, e, "name="+pong+"&replay=true"+query).correlations(t, events)
	}
	first := heard(1, "")
	if slices.Equal(first, inOrder) {
		t.Fatal("in order")
	}
	equal(t, "the same seed", heard(1, ""), first)
	equal(t, "the same seed, one shot", heard(1, "&follow=false"), first)
	if slices.Equal(heard(2, ""), first) {
		t.Fatal("another seed, the same order")
	}
	slices.Sort(first)
	slices.Sort(inOrder)
	equal(t, "events", first, inOrder)
}
