package main

import (
	"os"
	"runtime/debug"
)

// gcPercent is the garbage collector's pace when GOGC does not say otherwise.
// In a build with cgo the block cache is not on the Go heap, and what is large there has no pointers; without cgo the pace
// matters for the block cache too. There is no soft memory limit by default: its right value is the machine's business, and
// GOMEMLIMIT sets it.
const gcPercent = 100

func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
