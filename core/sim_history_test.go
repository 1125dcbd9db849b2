package core

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/triglot/triglot/core/corepb"
)

// simHistory is what clients asked of a few registers, and what they were told.
type simHistory struct {
	c    *simCluster
	keys int

	mu         sync.Mutex // guards the fields below
	operations []porcupine.Operation
	written    []simWrite       // acknowledged
	never      map[string]error // values that were certainly not written, and why
}

type simWrite struct {
	key, value string
	revision   int64
}

type registerKind uint8

const (
	registerGet registerKind = iota
	registerPut
	registerSwap // put if the value is the expected one
)

type registerInput struct {
	key             string
	kind            registerKind
	value, expected string
}

type registerOutput struct {
	value   string // of a get; "" absent
	swapped bool
	unknown bool
}

// registers is what a register does, for porcupine.
var registers = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range history {
			key := op.Input.(registerInput).key
			byKey[key] = append(byKey[key], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		now, in, out := state.(string), input.(registerInput), output.(registerOutput)
		switch in.kind {
		case registerGet:
			return out.value == now, now
		case registerPut:
			return true, in.value
		default:
			if out.unknown {
				if now == in.expected {
					return true, in.value
				}
				return true, now
			}
			if out.swapped != (now == in.expected) {
				return false, now
			}
			if out.swapped {
				return true, in.value
			}
			return true, now
		}
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v → %+v", input, output) },
}

// run is one client, which asks any member and moves on to another after every question.
func (h *simHistory) run(client int, dice *rand.Rand) {
	last := map[string]string{}
	for n := 0; h.c.wait(time.Duration(dice.IntN(60)) * time.Millisecond); n++ {
		life := h.c.pick(dice)
		if life == nil {
			continue
		}
		in := registerInput{key: fmt.Sprintf("r%d", dice.IntN(h.keys)), kind: registerKind(dice.IntN(3))}
		in.value, in.expected = fmt.Sprintf("v%d.%d", client, n), last[in.key]
		ctx, cancel := context.WithTimeout(h.c.ctx, time.Duration(100+dice.IntN(4000))*time.Millisecond)
		called := h.c.clock.Add(1)
		out, revision, err := h.ask(ctx, life.store, in)
		returned := h.c.clock.Add(1)
		cancel()
		if err == nil && life.dead.Load() {
			err = ErrUnknownFate // said in the dark
		}
		if out.value != "" {
			last[in.key] = out.value
		}
		h.record(porcupine.Operation{ClientId: client, Input: in, Output: out, Call: called, Return: returned}, revision, err)
	}
}

func (h *simHistory) ask(ctx context.Context, s *Store, in registerInput) (out registerOutput, revision int64, err error) {
	key := []byte(in.key)
	if in.kind == registerGet {
		view, err := s.View(ctx, Linearizable)
		if err != nil {
			return out, 0, err
		}
		defer view.Close()
		if rec := view.Get(0, key); rec != nil {
			out.value = string(rec.Value)
		}
		return out, 0, nil
	}
	txn := &corepb.Txn{AbortOnError: true, Then: []*corepb.Op{opPut(&corepb.Put{Key: key, Value: []byte(in.value)})}}
	if in.kind == registerSwap {
		guard := &corepb.Guard{Key: key, Target: corepb.Guard_VALUE, Value: []byte(in.expected)}
		if in.expected == "" {
			guard = &corepb.Guard{Key: key, Target: corepb.Guard_VERSION}
		}
		txn.Guards = []*corepb.Guard{guard}
	}
	result, err := s.Do(ctx, txn)
	if err != nil {
		return out, 0, err
	}
	if result.Err != nil {
		return out, 0, result.Err
	}
	out.swapped = result.Succeeded
	if out.swapped {
		out.value, revision = in.value, result.Revision
	}
	return out, revision, nil
}

// record adds an operation with what is known of it.
func (h *simHistory) record(op porcupine.Operation, revision int64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	in := op.Input.(registerInput)
	certain := isCertain(err)
	switch {
	case err == nil:
		if revision != 0 {
			h.written = append(h.written, simWrite{in.key, in.value, revision})
		}
		h.c.count(func(n *simCounts) { n.acked++ })
	case in.kind == registerGet:
		h.c.count(func(n *simCounts) { n.refused++ })
		return
	case certain:
		h.never[in.value] = err
		h.c.count(func(n *simCounts) { n.refused++ })
		return
	default:
		op.Output, op.Return = registerOutput{unknown: true}, 1<<62
		h.c.count(func(n *simCounts) { n.unknown++ })
	}
	h.operations = append(h.operations, op)
}

// isCertain says whether an error means that nothing was, or ever will be, done.
func isCertain(err error) bool {
	e, ok := err.(*Error)
	return ok && (e.Code == CodeNoLeader || e.Code == CodeOverloaded || e.Code == CodeStopped)
}
