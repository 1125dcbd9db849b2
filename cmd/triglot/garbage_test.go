package main

import (
	"runtime/debug"
	"testing"
)

func TestTheCollectorsPaceIsOursUnlessTheEnvironmentSaysOne(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	for _, c := range []struct {
		environment string
		want        int
	}{{"", gcPercent}, {"100", 100}, {"off", 100}} {
		debug.SetGCPercent(100)
		t.Setenv("GOGC", c.environment)
		paceCollector()
		if got := debug.SetGCPercent(100); got != c.want {
			t.Errorf("with GOGC=%s it is %d, want %d", c.environment, got, c.want)
		}
	}
}
