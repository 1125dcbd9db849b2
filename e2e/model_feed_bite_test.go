package e2e

import (
	"strings"
	"testing"
)

func TestTheRulesForWatchesFindGapsRepeatsAndDisorder(t *testing.T) {
	type told struct {
		event             string // +key or -key
		revision, version int64
	}
	for name, c := range map[string]struct {
		events []told
		wrong  string // part of the complaint; empty: none
	}{
		"all is well":               {[]told{{"+a", 2, 1}, {"+b", 3, 1}, {"-a", 4, 0}, {"+c", 4, 1}}, ""},
		"a revision again":          {[]told{{"+a", 2, 1}, {"+b", 4, 1}, {"+c", 3, 1}}, "comes after revision 4"},
		"an event twice":            {[]told{{"+a", 2, 1}, {"+a", 3, 1}}, "a second time"},
		"a version that is skipped": {[]told{{"+a", 3, 2}}, "has version 2"},
		"a creation left out":       {[]told{{"-a", 3, 0}}, "left out"},
	} {
		w := &feedWatcher{log: newFeedLog(), name: "w"}
		expectComplaint(t, name, c.wrong, func() error {
			for _, e := range c.events {
				if err := w.tell(feedEvent{e.event[1:], e.event[0] == '-'}, e.revision, e.version); err != nil {
					return err
				}
			}
			return nil
		}())
	}

	log := newFeedLog()
	first := &feedWatcher{log: log, name: "first"}
	for i, key := range []string{"a", "b", "c", "d"} {
		if err := first.tell(feedEvent{key: key}, int64(i+2), 1); err != nil {
			t.Fatal(err)
		}
	}
	second := &feedWatcher{log: log, name: "second"}
	if err := second.tell(feedEvent{key: "a"}, 2, 1); err != nil {
		t.Error(err)
	}
	expectComplaint(t, "a gap", "another watch was told", second.tell(feedEvent{key: "c"}, 4, 1))
	third := &feedWatcher{log: log, name: "third", promised: 2}
	expectComplaint(t, "an event below the progress that was told", "all is told up to 2", third.tell(feedEvent{key: "a"}, 2, 1))

	stretch := func(keys string) error {
		var events []feedEvent
		for _, key := range strings.Split(keys, "") {
			events = append(events, feedEvent{key: key})
		}
		return log.checkStretch("s", events)
	}
	expectComplaint(t, "a stretch", "", stretch("bcd"))
	expectComplaint(t, "a stretch with a gap", "positions", stretch("bd"))
	expectComplaint(t, "a stretch out of order", "positions", stretch("cb"))
	expectComplaint(t, "a stretch with a repeat", "positions", stretch("bb"))
	expectComplaint(t, "a stretch with what never was", "never happened", stretch("bx"))

	inOrder := func(keys string, prefix bool) error { return log.checkBatch(batch{strings.Split(keys, ""), prefix}) }
	expectComplaint(t, "a pipeline", "", inOrder("abc", true))
	expectComplaint(t, "a pipeline that was cut off", "", inOrder("abxy", true))
	expectComplaint(t, "a pipeline out of order", "sent before it", inOrder("acb", true))
	expectComplaint(t, "a pipeline with a gap", "which was sent before it", inOrder("axc", true))
	expectComplaint(t, "a pipeline that may have a gap", "", inOrder("axc", false))

	p := func(number int64) message { return message{"p", number} }
	q := message{"q", 1}
	sure := func(m message) bool { return m.number != 2 }
	expectComplaint(t, "messages", "", checkMessages("m", []message{p(1), q, p(3), p(4)}, sure))
	expectComplaint(t, "a message left out", "which was published", checkMessages("m", []message{p(1), p(2), p(4)}, sure))
	expectComplaint(t, "a message twice", "after", checkMessages("m", []message{p(1), p(1)}, sure))
	expectComplaint(t, "one order", "", checkOneOrder([]message{p(1), q, p(2)}, []message{p(1), p(2)}))
	expectComplaint(t, "two orders", "to another", checkOneOrder([]message{p(1), q, p(2)}, []message{q, p(1)}))
}

func TestTheRulesForLivesFindEarlyEnds(t *testing.T) {
	l := life{key: "k", until: 10}
	check := func(l life, seen int64, gone bool) error {
		_, err := checkLife(l, logged{seen: seen}, gone)
		return err
	}
	expectComplaint(t, "an end in time", "", check(l, 11, true))
	expectComplaint(t, "an early end", "could rely on it", check(l, 9, true))
	expectComplaint(t, "no end", "still there", check(l, 0, false))
	l.ended = true
	expectComplaint(t, "an end that was asked for", "", check(l, 9, true))
}

func expectComplaint(t *testing.T, name, wrong string, err error) {
	t.Helper()
	switch {
	case wrong == "" && err != nil:
		t.Errorf("%s: %v", name, err)
	case wrong != "" && (err == nil || !strings.Contains(err.Error(), wrong)):
		t.Errorf("%s: the complaint is %v, want %q", name, err, wrong)
	}
}
