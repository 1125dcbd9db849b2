package main

import (
	"os"
	"runtime/debug"
)

// gcPercent is the garbage collector's pace when GOGC does not say otherwise. The large, long-lived memory (block cache,
// memtables) is not on the Go heap of a build with cgo, so the heap is small and its growth between collections is small
// too: the pace of the runtime's own default costs little memory, and a slower one buys little time. A build without cgo
// has that memory on its heap and takes up to twice as much of it. There is no soft memory limit by
// default: its right value is the machine's business, and GOMEMLIMIT sets it.
const gcPercent = 100

func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
