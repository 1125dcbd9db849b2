package e2e

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Histories: what clients asked and were answered, key by key, for porcupine to find an order in which one copy of the
// data could have given these answers.

// fate is what a client knows of its request.
type fate int

const (
	done    fate = iota // answered
	refused             // certainly not carried out
	unknown             // it may have been carried out, or may be yet
)

// started is the beginning of the time of all histories.
var started = time.Now()

// now is a moment in a history.
func now() int64 { return int64(time.Since(started)) }

// history is what happened to one key. Only what was answered, or may have happened, is in it.
type history struct {
	key string

	mu  sync.Mutex // guards ops
	ops []porcupine.Operation
}

// add notes an operation. Whose fate is unknown may take effect at any time after its call.
func (h *history) add(client string, call int64, input, output any, f fate) {
	returned := now()
	switch f {
	case refused:
		return
	case unknown:
		returned = math.MaxInt64
	}
	h.addAt(client, call, returned, input, output)
}

// addAt notes an operation with its times.
func (h *history) addAt(client string, call, returned int64, input, output any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{Input: input, Call: call, Output: output, Return: returned, Metadata: client})
}

// openMost bounds the search: each operation without an end doubles it at worst. Keys retire long before.
const openMost = 24

// check looks for an order. The time bounds a search that does not come to an end; such a key is told as not checked.
func (h *history) check(model porcupine.Model, bound time.Duration) porcupine.CheckResult {
	h.mu.Lock()
	defer h.mu.Unlock()
	return porcupine.CheckOperationsTimeout(model, h.ops, bound)
}

// open counts the operations without an end.
func (h *history) open() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, op := range h.ops {
		if op.Return == math.MaxInt64 {
			n++
		}
	}
	return n
}

// String shows the operations in the order of their calls.
func (h *history) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	ops := slices.Clone(h.ops)
	slices.SortFunc(ops, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var b strings.Builder
	fmt.Fprintf(&b, "history of %s, times in ms:\n", h.key)
	for _, op := range ops {
		end := "      open"
		if op.Return != math.MaxInt64 {
			end = fmt.Sprintf("%10.3f", float64(op.Return)/1e6)
		}
		client, _ := op.Metadata.(string)
		fmt.Fprintf(&b, "%10.3f %s %-16s %v -> %v\n", float64(op.Call)/1e6, end, client, op.Input, op.Output)
	}
	return b.String()
}

// slot is a key that is in use, and gives way to a fresh one after so many operations: short histories are searched fast.
type slot struct {
	prefix  string
	most    int
	retired func(*history) // nobody will add to it any more

	mu      sync.Mutex // guards all below
	born    int
	current *use
}

// use is a key's time in its slot.
type use struct {
	*history
	ops, flying int
	over        bool
}

// take gives the key to work on. The worker gives it back with give, whatever became of its request.
func (s *slot) take() *use {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		s.current = &use{history: &history{key: fmt.Sprintf("%s-%d", s.prefix, s.born)}}
		s.born++
	}
	u := s.current
	u.ops++
	u.flying++
	if u.ops >= s.most || u.open() >= openMost/2 {
		u.over, s.current = true, nil
	}
	return u
}

func (s *slot) give(u *use) {
	s.mu.Lock()
	u.flying--
	last := u.over && u.flying == 0
	s.mu.Unlock()
	if last {
		s.retired(u.history)
	}
}

// finish retires the key that is in use. No worker may be running.
func (s *slot) finish() {
	s.mu.Lock()
	u := s.current
	s.current = nil
	s.mu.Unlock()
	if u != nil {
		s.retired(u.history)
	}
}
