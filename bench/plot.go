package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
)

// runPlot draws throughput against the number of clients or of keys, a line for each server and workload, as SVG.
func runPlot(_ context.Context, args []string) error {
	flags := flag.NewFlagSet("bench plot", flag.ExitOnError)
	by := flags.String("by", "clients", "what goes along the x axis: clients or keys")
	title := flags.String("title", "", "title of the plot")
	out := flags.String("out", "", "file to write (default standard output)")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: bench plot [flags] results.jsonl...")
		flags.PrintDefaults()
	}
	flags.Parse(args)
	along := map[string]func(*Result) float64{
		"clients": func(r *Result) float64 { return float64(r.Clients) },
		"keys":    func(r *Result) float64 { return float64(r.Keys) },
	}[*by]
	if along == nil {
		return fmt.Errorf("-by %s: there are clients and keys", *by)
	}
	results, err := readResults(flags.Args())
	if err != nil {
		return err
	}
	p := plot{title: *title, xName: *by, yName: "operations per second"}
	p.gather(results, along)
	if len(p.lines) == 0 {
		return fmt.Errorf("no results to draw")
	}
	svg := p.render()
	if *out == "" {
		_, err = os.Stdout.Write(svg)
		return err
	}
	return os.WriteFile(*out, svg, 0o644)
}

// plot is a line chart with a logarithmic x axis.
type plot struct {
	title, xName, yName string
	lines               []plotLine
}

type plotLine struct {
	name   string
	points []plotPoint // by x
}

type plotPoint struct {
	x float64
	y Spread
}

// gather makes a line of the results of each server on each workload.
func (p *plot) gather(results []*Result, along func(*Result) float64) {
	values := map[string]map[float64][]float64{}
	var names []string
	for _, r := range results {
		name := r.Server + " " + r.Workload
		if values[name] == nil {
			names = append(names, name)
			values[name] = map[float64][]float64{}
		}
		values[name][along(r)] = append(values[name][along(r)], r.OpsPerSec)
	}
	for _, name := range names {
		line := plotLine{name: name}
		for x, ys := range values[name] {
			line.points = append(line.points, plotPoint{x, spreadOf(ys)})
		}
		slices.SortFunc(line.points, func(a, b plotPoint) int { return cmp.Compare(a.x, b.x) })
		p.lines = append(p.lines, line)
	}
}

// The size of the picture and the room around its axes, in pixels.
const (
	plotWidth, plotHeight = 720, 440
	plotLeft, plotRight   = 80, 190
	plotTop, plotBottom   = 50, 60
)

// Colours that are told apart by most eyes, also in print.
var plotColours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"}

func (p *plot) render() []byte {
	least, most, top := math.Inf(1), math.Inf(-1), 0.0
	for _, line := range p.lines {
		for _, point := range line.points {
			least, most, top = min(least, point.x), max(most, point.x), max(top, point.y.Max)
		}
	}
	if top == 0 {
		top = 1 // nothing was done: lines along the axis
	}
	step := niceStep(top / 5)
	top = math.Ceil(top/step) * step
	if most == least {
		most = 2 * least
	}
	x := func(v float64) float64 {
		return plotLeft + (plotWidth-plotLeft-plotRight)*(math.Log(v)-math.Log(least))/(math.Log(most)-math.Log(least))
	}
	y := func(v float64) float64 { return plotHeight - plotBottom - (plotHeight-plotTop-plotBottom)*v/top }

	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", plotWidth, plotHeight)
	text := func(x, y float64, anchor, content string) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="#222">`, x, y, anchor)
		_ = xml.EscapeText(&b, []byte(content)) // a buffer takes everything
		b.WriteString("</text>\n")
	}
	text(plotLeft, plotTop-22, "start", p.title)
	for v := 0.0; v <= top+step/2; v += step {
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/>`+"\n", plotLeft, y(v), plotWidth-plotRight, y(v))
		text(plotLeft-8, y(v)+4, "end", short(v))
	}
	for _, v := range p.ticks() {
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#ddd"/>`+"\n", x(v), plotTop, x(v), plotHeight-plotBottom)
		text(x(v), plotHeight-plotBottom+18, "middle", short(v))
	}
	text((plotLeft+plotWidth-plotRight)/2, plotHeight-18, "middle", p.xName)
	text(plotLeft, plotTop-6, "start", p.yName)
	for i, line := range p.lines {
		colour := plotColours[i%len(plotColours)]
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="2" points="`, colour)
		for _, point := range line.points {
			fmt.Fprintf(&b, "%.1f,%.1f ", x(point.x), y(point.y.Median))
		}
		b.WriteString(`"/>` + "\n")
		for _, point := range line.points {
			fmt.Fprintf(&b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`+"\n",
				x(point.x), y(point.y.Min), x(point.x), y(point.y.Max), colour)
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x(point.x), y(point.y.Median), colour)
		}
		at := float64(plotTop + 10 + 20*i)
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="%s" stroke-width="2"/>`+"\n",
			plotWidth-plotRight+14, at, plotWidth-plotRight+34, at, colour)
		text(plotWidth-plotRight+40, at+4, "start", line.name)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// ticks are the x values that were measured.
func (p *plot) ticks() (values []float64) {
	for _, line := range p.lines {
		for _, point := range line.points {
			values = append(values, point.x)
		}
	}
	slices.Sort(values)
	return slices.Compact(values)
}

// niceStep rounds up to 1, 2 or 5 times a power of ten.
func niceStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if v <= m*power {
			return m * power
		}
	}
	return 10 * power
}

// short writes thousands as k and millions as M.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%gM", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%gk", v/1e3)
	}
	return fmt.Sprintf("%g", v)
}
