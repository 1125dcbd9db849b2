package main

import (
	"os"
	"runtime/debug"
)

// gcPercent is the garbage collector's pace when GOGC does not say otherwise. With the runtime's own default of 100 a store
// that is being filled with a million keys takes 374 MiB, with 50 it takes 316 to 345; a put costs a few per cent more CPU time.
// In a build with cgo the large, long-lived memory (block cache, memtables) is not on the Go heap; without cgo it is, and
// the pace then matters for it too. There is no soft memory limit by default: its right value is the machine's business,
// and GOMEMLIMIT sets it.
const gcPercent = 50

func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
