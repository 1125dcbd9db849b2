package e2e

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// The model of a lock whose holder may lose it to time. A holder that has not given it back for sure leaves an "end" in
// the history, which begins when the holder cannot be sure any more to have it, and may happen at any later time. So the
// lock is exclusive for as long as its holder, by its own clock, may rely on it; nothing more can be had from a lock with
// a time-out, and the work under it is guarded by the lock's revision (load_locks_test.go).

type lockInput struct {
	deed   string // "take", "give", "end", "look"
	holder string // of this one taking; never used twice
}

func (in lockInput) String() string { return in.deed + " " + in.holder }

type lockOutput struct {
	unknown bool
	took    bool   // take: it was free; give: it was the holder's
	holder  string // look: whose it is; empty: free
}

func (out lockOutput) String() string {
	if out.unknown {
		return "unknown"
	}
	return fmt.Sprintf("%v %s", out.took, out.holder)
}

// The state is the holder; empty: free.
var lockModel = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(string), input.(lockInput), output.(lockOutput)
		switch in.deed {
		case "take":
			free := s == ""
			if free {
				s = in.holder
			}
			return out.unknown || out.took == free, s
		case "give", "end":
			held := s == in.holder
			if held {
				s = ""
			}
			return out.unknown || out.took == held, s
		case "look":
			return out.unknown || out.holder == s, s
		}
		return false, s
	},
}
