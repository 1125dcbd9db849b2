package e2e

import (
	"fmt"
	"strings"

	"github.com/anishathalye/porcupine"
)

// The model of a list that is used as a queue, and looked at as a whole.

type listInput struct {
	deed  string // "push" at the end, "pop" from the front, "range", "length"
	value string // of push, without a space; each is pushed once
}

func (in listInput) String() string { return strings.TrimSpace(in.deed + " " + in.value) }

type listOutput struct {
	unknown bool
	length  int64  // of push and length
	value   string // of pop; empty: there was nothing
	values  string // of range, with spaces between
}

func (out listOutput) String() string {
	if out.unknown {
		return "unknown"
	}
	return fmt.Sprintf("%d %q %q", out.length, out.value, out.values)
}

// The state is the values with spaces between.
var listModel = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(string), input.(listInput), output.(listOutput)
		switch in.deed {
		case "push":
			next := strings.TrimPrefix(s+" "+in.value, " ")
			return out.unknown || out.length == int64(len(strings.Fields(next))), next
		case "pop":
			first, rest, _ := strings.Cut(s, " ")
			return out.unknown || out.value == first, rest
		case "range":
			return out.unknown || out.values == s, s
		case "length":
			return out.unknown || out.length == int64(len(strings.Fields(s))), s
		}
		return false, s
	},
}
