package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// panel is one chart: horizontal bars, or lines over a logarithmic axis.
type panel struct {
	title, unit string
	bars        []bar
	lines       []line
	axis        string // what the lines run over
}

type bar struct {
	label string
	value spread
}

type line struct {
	label  string
	x, y   []float64
	colour string
}

// Sizes in pixels.
const (
	plotWidth   = 860
	labelWidth  = 220
	valueWidth  = 150
	rowHeight   = 26
	titleHeight = 44
	chartHeight = 220
	barColour   = "#4477aa"
	oursColour  = "#cc6633"
)

// plot draws the panels below each other as an SVG document.
func plot(panels []panel) string {
	var b strings.Builder
	y := 0
	for _, p := range panels {
		y += titleHeight
		text(&b, 8, y-14, "bold", p.title+" ("+p.unit+")")
		if p.bars != nil {
			drawBars(&b, p.bars, y)
			y += rowHeight * len(p.bars)
		} else {
			drawLines(&b, p, y)
			y += chartHeight + rowHeight
		}
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="13">
<rect width="100%%" height="100%%" fill="white"/>
%s</svg>
`, plotWidth, y+10, b.String())
}

func text(b *strings.Builder, x, y int, weight, s string) {
	fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" font-weight=\"%s\">%s</text>\n", x, y, weight, html.EscapeString(s))
}

// drawBars draws a bar for each median and a whisker from lowest to highest.
func drawBars(b *strings.Builder, bars []bar, top int) {
	longest := 0.0
	for _, x := range bars {
		longest = max(longest, x.value.high)
	}
	scale := float64(plotWidth-labelWidth-valueWidth) / longest
	for i, x := range bars {
		y := top + i*rowHeight
		colour := barColour
		if i == 0 {
			colour = oursColour
		}
		text(b, 8, y+17, "normal", x.label)
		fmt.Fprintf(b, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n",
			labelWidth, y+4, x.value.median*scale, rowHeight-8, colour)
		fmt.Fprintf(b, "<path d=\"M%.1f %dH%.1f\" stroke=\"black\"/>\n",
			labelWidth+x.value.low*scale, y+rowHeight/2, labelWidth+x.value.high*scale)
		text(b, labelWidth+int(x.value.high*scale)+8, y+17, "normal", fmt.Sprintf("%.2f", x.value.median))
	}
}

// drawLines draws each line over the decades of its x, from zero upwards.
func drawLines(b *strings.Builder, p panel, top int) {
	highest, furthest := 0.0, 1.0
	for _, l := range p.lines {
		for i := range l.x {
			highest, furthest = max(highest, l.y[i]), max(furthest, l.x[i])
		}
	}
	width := float64(plotWidth - 100 - valueWidth)
	at := func(x, y float64) (float64, float64) {
		return 60 + width*math.Log10(x)/math.Log10(furthest), float64(top) + chartHeight*(1-y/highest)
	}
	fmt.Fprintf(b, "<path d=\"M60 %dV%dH%.1f\" fill=\"none\" stroke=\"black\"/>\n", top, top+chartHeight, 60+width)
	text(b, 8, top+10, "normal", fmt.Sprintf("%.3g", highest))
	text(b, 40, top+chartHeight, "normal", "0")
	for decade := 1.0; decade <= furthest; decade *= 10 {
		x, _ := at(decade, 0)
		text(b, int(x), top+chartHeight+18, "normal", fmt.Sprintf("%.0f", decade))
	}
	text(b, 60+int(width)+50, top+chartHeight+18, "normal", p.axis)
	for _, l := range p.lines {
		var path strings.Builder
		var x, y float64
		for i := range l.x {
			x, y = at(l.x[i], l.y[i])
			fmt.Fprintf(&path, "%s%.1f %.1f", map[bool]string{true: "M", false: "L"}[i == 0], x, y)
		}
		fmt.Fprintf(b, "<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n", path.String(), l.colour)
		text(b, int(x)+6, int(y)+4, "normal", l.label)
	}
}
