package e2e

import (
	"fmt"
	"strconv"

	"github.com/anishathalye/porcupine"
)

// The model of one key: a register with compare-and-swap that is also a counter. Besides its value it has what protocols
// show of a key: how often it changed since it was created, and the revision of the last change. Revisions must grow in
// the order that is found, which is the order of real time.

// deed is what an operation on a key is.
type deed string

const (
	doRead    deed = "read"
	doPut     deed = "put"
	doSet     deed = "set"     // a put on a key that is there
	doCreate  deed = "create"  // a put on a key that is absent
	doSwap    deed = "swap"    // a put where the value is the expected one
	doVersion deed = "version" // a put where the version is the expected one
	doDelete  deed = "delete"
	doAdd     deed = "add" // to a number; an absent key is 0
)

// keyInput is an operation. Values that are put are put once in a key's life, so that a value tells which put it was.
type keyInput struct {
	deed    deed
	value   string // to put
	expect  string // of swap
	version int64  // of version
	by      int64  // of add
}

func (in keyInput) String() string {
	switch in.deed {
	case doSwap:
		return fmt.Sprintf("swap %s for %s", in.expect, in.value)
	case doVersion:
		return fmt.Sprintf("put %s at version %d", in.value, in.version)
	case doAdd:
		return fmt.Sprintf("add %d", in.by)
	case doRead, doDelete:
		return string(in.deed)
	}
	return fmt.Sprintf("%s %s", in.deed, in.value)
}

// sight is what an answer shows of a key.
type sight struct {
	shown    bool
	present  bool
	hasValue bool
	value    string
	version  int64 // 0: not shown
	revision int64 // of the last change; 0: not shown
}

func (s sight) String() string {
	switch {
	case !s.shown:
		return "?"
	case !s.present:
		return "absent"
	}
	value := "?"
	if s.hasValue {
		value = s.value
	}
	return fmt.Sprintf("%s (version %d, revision %d)", value, s.version, s.revision)
}

// keyOutput is an answer: whether the operation took effect, what was there before, and what after it.
type keyOutput struct {
	unknown       bool
	took          bool
	before, after sight
}

func (out keyOutput) String() string {
	if out.unknown {
		return "unknown"
	}
	text := fmt.Sprintf("took effect: %v", out.took)
	if out.before.shown {
		text += ", before: " + out.before.String()
	}
	if out.after.shown {
		text += ", after: " + out.after.String()
	}
	return text
}

// keyState is a key.
type keyState struct {
	present  bool
	value    string
	version  int64
	revision int64 // the last change is at this one, if exact, or a later one
	exact    bool
}

// shows says whether an answer can be about this state, and what is then known of it.
func (s keyState) shows(seen sight) (bool, keyState) {
	if !seen.shown {
		return true, s
	}
	if seen.present != s.present || seen.hasValue && seen.value != s.value || seen.version != 0 && seen.version != s.version {
		return false, s
	}
	if seen.revision != 0 {
		if s.exact && seen.revision != s.revision || seen.revision < s.revision {
			return false, s
		}
		s.revision, s.exact = seen.revision, true
	}
	return true, s
}

// put gives the key a value at some later revision.
func (s keyState) put(value string) keyState {
	next := keyState{present: true, value: value, version: 1, revision: s.revision + 1}
	if s.present {
		next.version = s.version + 1
	}
	return next
}

// after is the state that an operation leads to, and whether it takes effect in this one.
func (s keyState) after(in keyInput) (keyState, bool) {
	switch in.deed {
	case doPut:
		return s.put(in.value), true
	case doSet:
		if s.present {
			return s.put(in.value), true
		}
	case doCreate:
		if !s.present {
			return s.put(in.value), true
		}
	case doSwap:
		if s.present && s.value == in.expect {
			return s.put(in.value), true
		}
	case doVersion:
		if s.present && s.version == in.version {
			return s.put(in.value), true
		}
	case doDelete:
		if s.present {
			return keyState{revision: s.revision + 1}, true
		}
	case doAdd:
		n := int64(0)
		if s.present {
			var err error
			if n, err = strconv.ParseInt(s.value, 10, 64); err != nil {
				return s, false
			}
		}
		return s.put(strconv.FormatInt(n+in.by, 10)), true
	case doRead:
		return s, true
	}
	return s, false
}

var keyModel = porcupine.Model{
	Init: func() any { return keyState{} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(keyState), input.(keyInput), output.(keyOutput)
		if out.unknown {
			next, _ := s.after(in)
			return true, next
		}
		fits, s := s.shows(out.before)
		if !fits {
			return false, s
		}
		next, took := s.after(in)
		if took != out.took {
			return false, s
		}
		return next.shows(out.after)
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%v -> %v", input, output) },
}
