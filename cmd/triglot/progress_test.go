package main

import (
	"strings"
	"testing"
	"time"
)

func TestProgressIsOneLineOnATerminalAndALineNowAndThenElsewhere(t *testing.T) {
	for _, terminal := range []bool{true, false} {
		var out strings.Builder
		clock := time.Unix(0, 0)
		p := newProgress(&out, "saving x")
		p.terminal, p.now, p.begun, p.shown = terminal, func() time.Time { return clock }, clock, clock
		for i := range int64(100) {
			clock = clock.Add(200 * time.Millisecond)
			p.step(i<<20, 100<<20)
		}
		p.end()
		got := out.String()
		lines, redraws := strings.Count(got, "\n"), strings.Count(got, "\r")
		if terminal && (lines != 0 || redraws != 101 || !strings.Contains(got, "\rsaving x: 50.0 MiB of 100.0 MiB (50%), 4.9 MiB/s\x1b[K")) {
			t.Errorf("on a terminal: %d lines, %d redraws in %q", lines, redraws, got)
		}
		if !terminal && (lines != 4 || redraws != 0 || !strings.HasPrefix(got, "saving x: 24.0 MiB of 100.0 MiB (24%), ")) {
			t.Errorf("elsewhere: %d lines, %d redraws in %q", lines, redraws, got)
		}
	}
}
