package core

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/triglot/triglot/core/corepb"
)

var update = flag.Bool("update", false, "write what the scripts in testdata give now; read the difference before keeping it")

// The scripts in testdata say what commands do. A paragraph is a command, a line "----", and what comes of it:
//
//	put a 1                 one op; ops and their arguments are listed in script_ops_test.go
//	txn abort session=7     or a Txn: its guards, ops and, after "else", those of the other branch; nested Txns likewise
//	  if version a = 1
//	  put a 2
//	else
//	  get a
//	end
//	at 2000                 sets the stamp of the commands that follow; nothing comes of it
//	term 3                  sets the term of their entries
//	as anna                 sets who they are from, at any auth revision, or at the one that follows; without a name nobody
//
// Results are one line for each op, events follow as "revision.sub type key …", and who is in the cluster and what users
// there are, if that changed.
//
// Beyond what it prints, every step is checked: undone, it leaves every byte as it was; a command of reads gives the same
// on a view as on a batch; whatever is derived from the records is what they say; the events about nodes lead from the
// nodes before to those after; and all steps together give the same bytes on another machine.
func TestScriptsDoWhatTheySay(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			runScript(t, file)
		})
	}
}

func runScript(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := openTestStore(t)
	var out []string
	for _, paragraph := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
		command, want, checked := strings.Cut(paragraph, "\n----")
		var lines []string
		for _, line := range strings.Split(command, "\n") {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				lines = append(lines, line)
			}
		}
		if setting, number, ok := setting(lines); ok {
			switch setting {
			case "at":
				s.now = number
			case "term":
				s.term = uint64(number)
			case "as":
				s.as = caller(lines[0])
			}
			out = append(out, paragraph)
			continue
		}
		got := s.scriptStep(parseCommand(t, lines))
		out = append(out, command+"\n----\n"+got)
		if want = strings.TrimSpace(want); !*update && (!checked || want != got) {
			t.Errorf("%s\ngives\n%s\ninstead of\n%s\n", command, got, want)
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(out, "\n\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.checkReplica()
}

// setting reads a paragraph that is no command.
func setting(lines []string) (name string, number int64, ok bool) {
	if len(lines) == 0 {
		return "", 0, true
	}
	words := strings.Fields(lines[0])
	switch words[0] {
	case "as":
		return words[0], 0, true
	case "at", "term":
	default:
		return "", 0, false
	}
	return words[0], integer(words[1]), true
}

func (s *testStore) scriptStep(txn *corepb.Txn) string {
	var onView *TxnResult
	if readOnly(txn) {
		onView = s.view(txn)
	} else {
		s.checkUndo(txn)
	}
	nodes, members, users := s.nodesNow(), s.members(), s.users()
	result := s.apply(txn)
	if onView != nil && !reflect.DeepEqual(onView, result) {
		s.t.Errorf("%v gives\n%s\non a view and\n%s\non a batch", txn, describeTxn(onView, txn, ""), describeTxn(result, txn, ""))
	}
	if (result.Revision != s.revision()) || result.Changed != hasRevision(s.events, result.Revision) {
		s.t.Errorf("%v: result %+v, events %v, revision %d", txn, result, s.events, s.revision())
	}
	s.checkInvariants()
	s.checkNodeEvents(nodes)
	text := describeTxn(result, txn, "") + describeEvents(s.events)
	if after := s.members(); after != members {
		text += after
	}
	if after := s.users(); after != users {
		text += after
	}
	return strings.TrimSpace(text)
}

func (s *testStore) revision() int64 {
	view := s.db.View()
	defer view.Release()
	return view.State().Revision
}

// parseCommand reads a Txn, or an op to be wrapped in one.
func parseCommand(t *testing.T, lines []string) *corepb.Txn {
	if words := split(lines[0]); words[0] != "txn" {
		if len(lines) > 1 {
			t.Fatalf("more than one op needs a txn: %q", lines)
		}
		return oneOp(parseOp(t, words))
	}
	txn, rest := parseTxn(t, lines)
	if len(rest) > 0 {
		t.Fatalf("after the end of the txn: %q", rest)
	}
	return txn
}

func parseTxn(t *testing.T, lines []string) (*corepb.Txn, []string) {
	txn := &corepb.Txn{}
	for _, word := range split(lines[0])[1:] {
		if word == "abort" {
			txn.AbortOnError = true
		} else if id, ok := strings.CutPrefix(word, "session="); ok {
			txn.Session = integer(id)
		} else if owner, ok := strings.CutPrefix(word, "owner="); ok {
			txn.Owner = uint64(integer(owner))
		} else {
			t.Fatalf("txn: %q", word)
		}
	}
	ops := &txn.Then
	for lines = lines[1:]; len(lines) > 0; {
		words := split(lines[0])
		switch words[0] {
		case "end":
			return txn, lines[1:]
		case "else":
			ops = &txn.Otherwise
			lines = lines[1:]
		case "if":
			txn.Guards = append(txn.Guards, parseGuard(t, words[1:]))
			lines = lines[1:]
		case "txn":
			var nested *corepb.Txn
			nested, lines = parseTxn(t, lines)
			*ops = append(*ops, &corepb.Op{Op: &corepb.Op_Txn{Txn: nested}})
		default:
			*ops = append(*ops, parseOp(t, words))
			lines = lines[1:]
		}
	}
	t.Fatal("a txn without an end")
	return nil, nil
}

var guardTargets = map[string]corepb.Guard_Target{
	"version": corepb.Guard_VERSION, "create": corepb.Guard_CREATE_REVISION, "mod": corepb.Guard_MOD_REVISION,
	"value": corepb.Guard_VALUE, "lease": corepb.Guard_LEASE, "deadline": corepb.Guard_DEADLINE, "kind": corepb.Guard_KIND,
}

var guardComparisons = map[string]corepb.Guard_Comparison{
	"=": corepb.Guard_EQUAL, ">": corepb.Guard_GREATER, "<": corepb.Guard_LESS, "!=": corepb.Guard_NOT_EQUAL,
}

// parseGuard reads: target key [end] comparison operand [--any-kind] [--space=n].
func parseGuard(t *testing.T, words []string) *corepb.Guard {
	a := arguments(words)
	g := &corepb.Guard{Space: uint32(a.number("space", 0)), AnyKind: a.flag("any-kind")}
	target, ok := guardTargets[a.next()]
	g.Target, g.Key = target, a.bytes()
	if len(a.words) == 3 {
		g.End = a.bytes()
	}
	comparison, known := guardComparisons[a.next()]
	g.Comparison = comparison
	if g.Target == corepb.Guard_VALUE {
		g.Value = a.bytes()
	} else {
		g.Number = integer(a.next())
	}
	if !ok || !known || !a.used() {
		t.Fatalf("guard: %q", words)
	}
	return g
}

func parseOp(t *testing.T, words []string) *corepb.Op {
	build, ok := scriptOps[words[0]]
	if !ok {
		t.Fatalf("unknown op: %q", words)
	}
	a := arguments(words[1:])
	op := build(a)
	if !a.used() {
		t.Fatalf("%q: not understood: %q %v", words, a.words, a.options)
	}
	return op
}

// split takes a line apart into words; those in quotes are Go strings.
func split(line string) []string {
	var words []string
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimLeft(line, " ") {
		end := strings.IndexByte(line, ' ')
		if line[0] == '"' {
			end = 1
			for line[end] != '"' {
				if line[end] == '\\' {
					end++
				}
				end++
			}
			end++
		} else if end < 0 {
			end = len(line)
		}
		words = append(words, line[:end])
		line = line[end:]
	}
	return words
}

func (a *args) bytes() []byte { return bytes.Clone([]byte(a.next())) }

// caller reads who commands are from.
func caller(line string) *corepb.Caller {
	words := strings.Fields(line)[1:]
	switch len(words) {
	case 0:
		return nil
	case 1:
		return &corepb.Caller{User: words[0], AuthRevision: AuthRevisionAny}
	}
	return &corepb.Caller{User: words[0], AuthRevision: uint64(integer(words[1]))}
}
