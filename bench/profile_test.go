package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

// aProfile has samples of one function each, of so many nanoseconds.
func aProfile(nanos map[string]int64) *profile.Profile {
	mapping := &profile.Mapping{ID: 1, Start: 1, Limit: 1 << 30, File: "/home/somebody/program", BuildID: "b"}
	p := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		PeriodType: &profile.ValueType{Type: "cpu", Unit: "nanoseconds"}, Mapping: []*profile.Mapping{mapping}, TimeNanos: 1,
	}
	for _, name := range sortedKeys(nanos) {
		id := uint64(len(p.Function) + 1)
		f := &profile.Function{ID: id, Name: name, SystemName: name, Filename: "/home/somebody/" + name + ".go", StartLine: 7}
		at := &profile.Location{ID: id, Mapping: mapping, Address: 1000 * id, Line: []profile.Line{{Function: f, Line: 9}}}
		p.Function, p.Location = append(p.Function, f), append(p.Location, at)
		p.Sample = append(p.Sample, &profile.Sample{
			Location: []*profile.Location{at}, Value: []int64{nanos[name] / 100, nanos[name]}, Label: map[string][]string{"worker": {"1"}},
		})
	}
	return p
}

func TestAMergedProfileSaysNothingOfTheMachine(t *testing.T) {
	long := aProfile(map[string]int64{"both": 3000, "long": 9000})
	short := aProfile(map[string]int64{"both": 100, "short": 300})
	merged, err := forCompiler([]*profile.Profile{long, short})
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := merged.Write(&text); err != nil {
		t.Fatal(err)
	}
	read, err := profile.Parse(&text)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, s := range read.Sample {
		line := s.Location[0].Line[0]
		got[line.Function.Name] += s.Value[1]
		if line.Line != 9 || line.Function.StartLine != 7 {
			t.Errorf("%s is at line %d of a function at %d", line.Function.Name, line.Line, line.Function.StartLine)
		}
	}
	want := map[string]int64{"both": 3100, "long": 9000, "short": 300}
	for name, nanos := range want {
		if got[name] != nanos {
			t.Errorf("%s weighs %d, want %d", name, got[name], nanos)
		}
	}
	if all := read.String(); strings.Contains(all, "somebody") || strings.Contains(all, "worker") {
		t.Errorf("the machine is in it:\n%s", all)
	}
}
