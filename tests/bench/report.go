package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// report is what a run found, in the order it was found.
type report struct {
	name     string // of its files
	title    string
	machine  []string
	sections []*section
	goals    []goal
}

// section is one table of the report.
type section struct {
	report       *report
	title, intro string
	head         []string
	rows         [][]string
	notes        []string
}

// goal is one target and its result; why says what is known of the
// reason when it is not met.
type goal struct {
	text, measured, verdict, why string
}

func newReport(machine []string, o options) *report {
	if o.growth {
		return &report{name: "growth", title: "Cost as work grows", machine: machine}
	}
	return &report{name: "status", title: "Speed and memory", machine: machine}
}

func (r *report) section(title, intro string, head ...string) *section {
	s := &section{report: r, title: title, intro: intro, head: head}
	r.sections = append(r.sections, s)
	return s
}

func (s *section) row(cells ...string) { s.rows = append(s.rows, cells) }

func (s *section) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// The columns of a load's cost, and of what else is said of it.
const costHead = "CPU µs a request"

var loadHead = []string{"requests/s", "p50", "p99", "p99.9", "memory"}

func (s series) loadCells(name string) []string {
	latency := func(of func(sample) time.Duration) string {
		return inMilliseconds(time.Duration(s.over(name, func(x sample) float64 { return float64(of(x)) }).median))
	}
	return []string{
		fmt.Sprintf("%.0f", s.over(name, sample.throughput).median),
		latency(func(x sample) time.Duration { return x.p50 }),
		latency(func(x sample) time.Duration { return x.p99 }),
		latency(func(x sample) time.Duration { return x.p999 }),
		megabytes(s.over(name, func(x sample) float64 { return float64(x.resident) }).median),
	}
}

// loadTable renders series; the ratios compare each entrant with the first.
func (r *report) loadTable(title, intro string, results series) *section {
	base := results.names[0]
	s := r.section(title, intro, append([]string{"", costHead, base + " ÷ it"}, loadHead...)...)
	for _, name := range results.names {
		cost, ratio := results.over(name, sample.perRequest), results.ratio(base, name)
		s.row(append([]string{name, cost.String(), ratio.String()}, results.loadCells(name)...)...)
	}
	const tolerable = 5 // per cent
	others, blurred := results.others(), ""
	if others.median > tolerable {
		blurred = "; that is enough to blur the figures, run it again on a quiet machine"
	}
	s.note("%d rounds. Other processes used %.0f %% of the machine (%.0f to %.0f %%)%s.",
		len(results.samples[base]), others.median, others.low, others.high, blurred)
	return s
}

// limit adds the goal that name costs at most limit times what base does.
func (s *section) limit(text string, results series, name, base string, limit float64, why string) {
	if len(results.samples[base]) == 0 {
		s.report.goals = append(s.report.goals, goal{text: text, measured: "—", verdict: "not measured: " + base + " is not installed"})
		return
	}
	cheapest := results.cheapest(name, base)
	s.report.goal(text, fmt.Sprintf("%.3f; by rounds %s", cheapest, results.ratio(name, base)), cheapest, limit, why)
}

// resolution is the difference between two figures that two runs do not tell
// apart, as a share.
const resolution = 0.02

// goal adds a goal of at most limit.
func (r *report) goal(text, measured string, value, limit float64, why string) {
	g := goal{text: text, measured: measured, verdict: "met"}
	switch {
	case value > limit*(1+resolution):
		g.verdict, g.why = fmt.Sprintf("missed by %.0f %%", 100*(value/limit-1)), why
	case value > limit*(1-resolution):
		g.verdict, g.why = "at its limit", why
	}
	r.goals = append(r.goals, g)
}

func (s spread) String() string { return fmt.Sprintf("%.2f (%.2f–%.2f)", s.median, s.low, s.high) }

func inMilliseconds(latency time.Duration) string {
	if latency >= 10*time.Millisecond {
		return fmt.Sprintf("%.0f ms", milliseconds(latency))
	}
	return fmt.Sprintf("%.2f ms", milliseconds(latency))
}

func megabytes(bytes float64) string { return fmt.Sprintf("%.1f MB", bytes/1e6) }

// publish prints the report and, given a directory, writes it there.
func (r *report) publish(dir string) error {
	text := r.markdown()
	if _, err := fmt.Print(text); err != nil || dir == "" {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, r.name+".md"), []byte(text), 0o644)
}

func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n<!-- Written by tests/bench, the picture by tests/plots. -->\n\n- %s\n\n![The main figures of the tables below.](%s.svg)\n\n",
		r.title, strings.Join(r.machine, "\n- "), r.name)
	if len(r.goals) > 0 {
		var rows [][]string
		for _, g := range r.goals {
			rows = append(rows, []string{g.text, g.measured, g.verdict, g.why})
		}
		b.WriteString("## Goals\n\n")
		table(&b, []string{"goal", "measured", "verdict", "why, where it is not met"}, rows)
	}
	for _, s := range r.sections {
		fmt.Fprintf(&b, "## %s\n\n%s\n\n", s.title, s.intro)
		table(&b, s.head, s.rows)
		for _, note := range s.notes {
			fmt.Fprintf(&b, "%s\n\n", note)
		}
	}
	b.WriteString(reading)
	return b.String()
}

func table(b *strings.Builder, head []string, rows [][]string) {
	for _, row := range slices.Concat([][]string{head, slices.Repeat([]string{"---"}, len(head))}, rows) {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
	b.WriteString("\n")
}

// reading explains the figures to who has not seen the program.
const reading = `## How to read this

- Each figure is the median over the rounds, with the lowest and the highest in brackets. A ratio is formed within
  each round, where both servers met the same machine.
- A verdict compares the three best rounds of each: whatever else the machine does can only add to a round. Within 2 %
  of a limit it says so: two runs do not tell such figures apart.
- CPU time is user and system time of all threads of the server, from the scheduler, over the requests that wrk
  completed. Server and load have a core each; 64 keep-alive connections, each sends its next request at once, so the
  latencies are those of a saturated server and mostly queueing.
- In the pictures a bar or a point is the median, and a whisker goes from the lowest round to the highest.
- All servers answer the same bytes. The peers send a constant request id.
- Memory is the resident set after the load.
`
