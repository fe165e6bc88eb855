// Command plots draws pictures of the benchmark's tables: docs/bench/NAME.svg
// from docs/bench/NAME.md. It measures nothing, so that a picture always shows
// the figures that are published beside it.
//
// It is a module of its own, so that the gateway does not come to require
// gonum/plot: `just bench` runs it last.
package main

import (
	"bytes"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// chart shows one column of the table below a heading: a bar for each row, or,
// where the rows have a size, a line for each server over that size.
type chart struct {
	section, column string
	title           string
	axis            string // what is measured, with its unit
	size            string // what a line runs over; empty for bars
}

// pictures are the charts of each report, two beside each other.
var pictures = map[string][]chart{
	"status": {
		{"Status, warm token", "CPU µs a request", "Status, warm token", "server CPU time, µs a request", ""},
		{"Status, tokens never seen before", "CPU µs a request", "Status, tokens never seen before", "server CPU time, µs a request", ""},
		{"Refusals", "CPU µs a request", "Refusals by this gateway", "server CPU time, µs a request", ""},
		{"Memory of idle connections", "a connection", "Memory of an idle connection", "resident memory, KB a connection", ""},
	},
	"growth": {
		{"Connections", "CPU µs a request", "Status by connections", "server CPU time, µs a request", "connections"},
		{"Connections", "memory", "Memory by connections", "resident memory, MB", "connections"},
		{"Distinct tokens", "CPU µs a request", "Status by distinct tokens", "server CPU time, µs a request", "tokens"},
		{"Writes in flight", "CPU µs a write", "Starts by writes in flight", "server CPU time, µs a write", "writes in flight"},
	},
}

const (
	chartWidth, chartHeight = 15 * vg.Centimeter, 8 * vg.Centimeter
	barWidth                = 0.5 * vg.Centimeter
	column                  = 2 // charts beside each other
)

var colours = []color.Color{color.RGBA{0xd5, 0x5e, 0x00, 0xff}, color.RGBA{0x00, 0x72, 0xb2, 0xff}} // this gateway, others

// directory is where the reports are, from this package.
const directory = "../../docs/bench"

func main() {
	for name := range pictures {
		svg, err := picture(filepath.Join(directory, name+".md"), pictures[name])
		if err == nil {
			err = os.WriteFile(filepath.Join(directory, name+".svg"), svg, 0o644)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "plots:", err)
			os.Exit(1)
		}
	}
}

// picture draws the charts of a report whose tables are in it.
func picture(report string, charts []chart) ([]byte, error) {
	text, err := os.ReadFile(report)
	if err != nil {
		return nil, err
	}
	plot.DefaultFont.Variant, plotter.DefaultFont.Variant = "Sans", "Sans"
	var plots [][]*plot.Plot
	for _, c := range charts {
		rows, err := c.rows(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", report, c.section, err)
		}
		p, err := c.draw(rows)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", report, c.section, err)
		}
		if last := len(plots) - 1; last >= 0 && len(plots[last]) < column {
			plots[last] = append(plots[last], p)
		} else {
			plots = append(plots, []*plot.Plot{p})
		}
	}
	canvas := vgsvg.New(column*chartWidth, vg.Length(len(plots))*chartHeight)
	tiles := draw.Tiles{Rows: len(plots), Cols: column, PadX: vg.Centimeter, PadY: vg.Centimeter,
		PadTop: vg.Centimeter / 2, PadBottom: vg.Centimeter / 2, PadLeft: vg.Centimeter / 2, PadRight: vg.Centimeter / 2}
	whole := draw.New(canvas)
	canvas.SetColor(color.White)
	canvas.Fill(whole.Rectangle.Path())
	for i, row := range plot.Align(plots, tiles, whole) {
		for j, tile := range row {
			plots[i][j].Draw(tile)
		}
	}
	var svg bytes.Buffer
	_, err = canvas.WriteTo(&svg)
	return bytes.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,sans-serif")), err
}

// row is one row of a table: whose value it is, and of what size.
type row struct {
	name, text       string
	size             float64
	value, low, high float64
}

var (
	number = regexp.MustCompile(`\d+(?:\.\d+)?`)
	spread = regexp.MustCompile(`\((.+)–(.+)\)`)
)

// rows reads the column of the chart from the first table of its section.
func (c chart) rows(text string) (rows []row, err error) {
	_, section, found := strings.Cut(text, "\n## "+c.section+"\n")
	if !found {
		return nil, fmt.Errorf("no such section; measure all of it first")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var head []string
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case !strings.HasPrefix(line, "|") || cells[0] == "---":
		case head == nil:
			head = cells
		default:
			at := slices.Index(head, c.column)
			if at < 0 || len(cells) != len(head) {
				return nil, fmt.Errorf("no column %q in %q", c.column, line)
			}
			r := row{name: cells[0], text: number.FindString(cells[at])}
			if c.size != "" {
				r.name = "this gateway"
				if server := slices.Index(head, ""); server >= 0 {
					r.name = cells[server]
				}
				if r.size, err = strconv.ParseFloat(cells[0], 64); err != nil {
					return nil, err
				}
			}
			if r.value, err = strconv.ParseFloat(r.text, 64); err != nil {
				return nil, err
			}
			r.low, r.high = r.value, r.value
			if ends := spread.FindStringSubmatch(cells[at]); ends != nil {
				r.low, _ = strconv.ParseFloat(ends[1], 64)
				r.high, _ = strconv.ParseFloat(ends[2], 64)
			}
			rows = append(rows, r)
		}
	}
	if rows == nil {
		return nil, fmt.Errorf("no table")
	}
	return rows, nil
}

func (c chart) draw(rows []row) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = c.title
	p.Title.Padding = vg.Centimeter / 3
	if c.size != "" {
		return p, c.lines(p, rows)
	}
	return p, c.bars(p, rows)
}

// bars draws a bar to each median, a whisker from the lowest to the highest of
// the rounds, and the median as a number behind it.
func (c chart) bars(p *plot.Plot, rows []row) error {
	p.X.Label.Text, p.X.Tick.Marker = c.axis, steps{}
	rows = slices.Clone(rows)
	slices.Reverse(rows) // the first one on top
	var names []string
	numbers := plotter.XYLabels{}
	for i, r := range rows {
		bar, err := plotter.NewBarChart(plotter.Values{r.value}, barWidth)
		if err != nil {
			return err
		}
		bar.Horizontal, bar.XMin, bar.Color, bar.LineStyle.Width = true, float64(i), colours[1], 0
		if i == len(rows)-1 {
			bar.Color = colours[0]
		}
		whisker, err := plotter.NewXErrorBars(r.whisker(float64(i)))
		if err != nil {
			return err
		}
		p.Add(bar, whisker)
		names = append(names, r.name)
		numbers.XYs = append(numbers.XYs, plotter.XY{X: r.high, Y: float64(i)})
		numbers.Labels = append(numbers.Labels, r.text)
		p.X.Max = max(p.X.Max, r.high*1.15) // room for the number
	}
	labels, err := plotter.NewLabels(numbers)
	if err != nil {
		return err
	}
	for i := range labels.TextStyle {
		labels.TextStyle[i].YAlign = draw.YCenter
	}
	labels.Offset.X = vg.Centimeter / 5
	p.Add(labels)
	p.NominalY(names...)
	p.X.Min = 0
	return nil
}

type whisker struct {
	plotter.XYs
	plotter.XErrors
}

func (r row) whisker(y float64) whisker {
	x := plotter.XErrors{{Low: r.value - r.low, High: r.high - r.value}}
	return whisker{plotter.XYs{{X: r.value, Y: y}}, x}
}

// lines draws the values of each server over the size, in decades.
func (c chart) lines(p *plot.Plot, rows []row) error {
	p.X.Label.Text, p.Y.Label.Text = c.size, c.axis
	p.X.Scale, p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogScale{}, decades{}, steps{}
	p.Add(plotter.NewGrid())
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding = vg.Millimeter
	p.Legend.XOffs, p.Legend.YOffs = vg.Centimeter/2, -vg.Centimeter/5
	for i := 0; len(rows) > 0; i++ {
		name := rows[0].name
		var points plotter.XYs
		for _, r := range rows {
			if r.name == name {
				points = append(points, plotter.XY{X: r.size, Y: r.value})
				p.Y.Max = max(p.Y.Max, r.value*1.25) // room for the legend
			}
		}
		rows = slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.name == name })
		line, marks, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		line.Color, line.Width, marks.Color, marks.Shape = colours[i%2], vg.Points(2), colours[i%2], draw.CircleGlyph{}
		p.Add(line, marks)
		p.Legend.Add(name, line, marks)
	}
	p.Y.Min = 0
	return nil
}

// steps marks at most seven round values from 0 on.
type steps struct{}

func (steps) Ticks(_, high float64) (ticks []plot.Tick) {
	step := 1.
	for i := 0; high/step > 6; i++ {
		step *= []float64{2, 2.5, 2}[i%3] // 1, 2, 5, 10
	}
	for x := 0.; x <= high; x += step {
		ticks = append(ticks, mark(x))
	}
	return ticks
}

// decades marks 1, 10, 100 and so on.
type decades struct{}

func (decades) Ticks(low, high float64) (ticks []plot.Tick) {
	for x := 1.; x <= high; x *= 10 {
		ticks = append(ticks, mark(x))
	}
	return ticks
}

func mark(x float64) plot.Tick {
	return plot.Tick{Value: x, Label: strconv.FormatFloat(x, 'f', -1, 64)}
}
