package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestAPlotHasALineForEachServer(t *testing.T) {
	var results []*Result
	for _, server := range []string{"a", "b & c"} {
		for i, clients := range []int{64, 1, 8} {
			for round := range 3 {
				results = append(results, &Result{
					Server: server, Config: Config{Workload: "put", Clients: clients},
					Summary: Summary{OpsPerSec: float64(1000*(i+1) + round)},
				})
			}
		}
	}
	p := plot{title: "x < y", xName: "clients", yName: "ops/s"}
	p.gather(results, func(r *Result) float64 { return float64(r.Clients) })
	if got := p.ticks(); len(got) != 3 || got[0] != 1 || got[2] != 64 {
		t.Errorf("ticks %v", got)
	}
	if first := p.lines[0].points; first[0].x != 1 || first[0].y.Median != 2001 || first[0].y.Max != 2002 {
		t.Errorf("points %v", first)
	}
	elements := map[string]int{}
	inside := func(x, y string) {
		t.Helper()
		var left, top float64
		if _, err := fmt.Sscan(x, &left); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(y, &top); err != nil {
			t.Fatal(err)
		}
		if left < plotLeft || left > plotWidth-plotRight || top < plotTop || top > plotHeight-plotBottom {
			t.Errorf("%s,%s is outside of the axes", x, y)
		}
	}
	for d := xml.NewDecoder(strings.NewReader(string(p.render()))); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		elements[start.Name.Local]++
		attributes := map[string]string{}
		for _, a := range start.Attr {
			attributes[a.Name.Local] = a.Value
		}
		switch start.Name.Local {
		case "circle":
			inside(attributes["cx"], attributes["cy"])
		case "polyline":
			for point := range strings.FieldsSeq(attributes["points"]) {
				x, y, _ := strings.Cut(point, ",")
				inside(x, y)
			}
		}
	}
	if elements["polyline"] != 2 || elements["circle"] != 6 {
		t.Errorf("drawn: %v", elements)
	}
}

func TestAPlotOfNothingDoneIsDrawn(t *testing.T) {
	p := plot{}
	p.gather([]*Result{{Server: "a", Config: Config{Clients: 1}}}, func(r *Result) float64 { return float64(r.Clients) })
	if svg := string(p.render()); strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Error(svg)
	}
}

func TestAReportHasARowForEachWorkload(t *testing.T) {
	lines := `{"server":"etcd","round":1,"name":"put","ops_per_s":100,"cost":{"cpu_us_per_op":50}}
{"server":"triglot","round":1,"name":"put","ops_per_s":250,"cost":{"cpu_us_per_op":20}}
{"server":"etcd","round":1,"name":"get","ops_per_s":100,"cost":{"cpu_us_per_op":50}}
{"server":"triglot","round":2,"name":"get","ops_per_s":100,"cost":{"cpu_us_per_op":50}}
`
	results, err := decodeResults(strings.NewReader(lines))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	table := newTable(&out, "servers")
	if err := addRows(table, results); err != nil {
		t.Fatal(err)
	}
	table.print()
	if got := out.String(); !strings.Contains(got, "2.50") || !strings.Contains(got, "0.40") || strings.Contains(got, "get") {
		t.Errorf("rounds that only one server came through count, or ratios are wrong:\n%s", got)
	}
	if err := addRows(table, results[:1]); err == nil {
		t.Error("one server was compared to nothing")
	}
}

func TestVaryMakesAWorkloadForEachNumber(t *testing.T) {
	put := defaultConfig
	put.Name, put.Workload = "put", "put"
	spec := &Spec{Workloads: []Config{put}}
	if err := spec.vary([]string{"1", "16"}, []string{"1000"}); err != nil {
		t.Fatal(err)
	}
	if w := spec.Workloads; len(w) != 2 || w[0].Clients != 1 || w[0].Conns != 1 || w[1].Clients != 16 || w[1].Keys != 1000 {
		t.Errorf("%+v", spec.Workloads)
	}
	if err := spec.vary([]string{"many"}, nil); err == nil {
		t.Error("many clients were accepted")
	}
}
