package zkcompat

import (
	"fmt"
	"slices"
	"testing"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

func wantEvents(t *testing.T, got []event, want ...event) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

func addWatch(c *client, path string, mode int32) {
	c.t.Helper()
	if failure := c.want(c.call(106, numberBody(path, mode)), codeOK).body.int32(); failure != 0 {
		c.t.Errorf("addWatch answers %d", failure)
	}
}

func TestAOneShotWatchFiresOnceForAChangeByAnyProtocol(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	c.create("/w", "", modePersistent)
	c.get("/w", true)
	s.do(put("/w", "1"))
	s.do(put("/w", "2"))
	wantEvents(t, c.take(), event{eventDataChanged, "/w"})

	if c.exists("/w/a", true) {
		t.Fatal("/w/a is there")
	}
	c.children("/w", true)
	s.do(put("/w/a", "x"))
	wantEvents(t, c.take(), event{eventCreated, "/w/a"}, event{eventChildrenChanged, "/w"})

	c.exists("/w/a", true)
	c.children("/w", true)
	s.do(deleteKey("/w/a"))
	wantEvents(t, c.take(), event{eventDeleted, "/w/a"}, event{eventChildrenChanged, "/w"})

	c.get("/w", true)
	c.children("/w", true)
	s.do(deleteKey("/w"))
	wantEvents(t, c.take(), event{eventDeleted, "/w"})
	s.do(put("/w", "again"))
	wantEvents(t, c.take())
}

func TestEventsComeWithoutBeingAskedFor(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	c.exists("/e", true)
	s.do(put("/e", "x"))
	if e := c.event(); e != (event{eventCreated, "/e"}) {
		t.Errorf("%v", e)
	}
}

func TestAMissingNodeLeavesAWatchOnlyByExists(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	c.want(c.call(opGetData, watchBody("/n", true)), codeNoNode)
	c.want(c.call(opGetChildren, watchBody("/n", true)), codeNoNode)
	c.want(c.call(17, numberBody("/n", watchTypeAny)), codeNoWatcher)
	c.exists("/n", true)
	c.want(c.call(17, numberBody("/n", watchTypeAny)), codeOK)
}

func TestTheClientsOwnWriteFiresItsWatchBeforeTheAnswer(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	c.children("/", true)
	c.exists("/own", true)
	c.create("/own", "", modePersistent)
	wantEvents(t, c.events, event{eventCreated, "/own"}, event{eventChildrenChanged, "/"})
}

func TestAPersistentWatchStaysUntilItIsRemoved(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	addWatch(c, "/p", addPersistent)
	s.do(put("/p", "1"))
	s.do(put("/p", "2"))
	s.do(put("/p/a", "x"))
	s.do(put("/p/a", "y"))
	s.do(deleteKey("/p/a"))
	s.do(deleteKey("/p"))
	s.do(put("/p", "3"))
	wantEvents(t, c.take(),
		event{eventCreated, "/p"}, event{eventDataChanged, "/p"}, event{eventChildrenChanged, "/p"},
		event{eventChildrenChanged, "/p"}, event{eventDeleted, "/p"}, event{eventCreated, "/p"})
	c.want(c.call(18, numberBody("/p", watchTypeData)), codeNoWatcher)
	c.want(c.call(18, numberBody("/p", watchTypePersistent)), codeOK)
	c.want(c.call(18, numberBody("/p", watchTypePersistent)), codeNoWatcher)
	s.do(put("/p", "4"))
	wantEvents(t, c.take())
}

func TestARecursiveWatchSeesTheWholeTree(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	addWatch(c, "/r", addRecursive)
	s.do(put("/r/a/b", "x"), put("/rx", "not below"))
	s.do(put("/r/a", "real"))
	s.do(deleteKey("/r/a/b"))
	s.do(deleteKey("/r/a"))
	wantEvents(t, c.take(),
		event{eventCreated, "/r"}, event{eventCreated, "/r/a"}, event{eventCreated, "/r/a/b"},
		event{eventDataChanged, "/r/a"},
		event{eventDeleted, "/r/a/b"},
		event{eventDeleted, "/r/a"}, event{eventDeleted, "/r"})
}

func TestWatchesThatSeeTheSameMakeOneEvent(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	c.create("/d", "", modePersistent)
	c.get("/d", true)
	c.get("/d", true)
	c.children("/d", true)
	addWatch(c, "/d", addPersistent)
	addWatch(c, "/", addRecursive)
	c.set("/d", "1")
	c.delete("/d")
	wantEvents(t, c.take(), event{eventDataChanged, "/d"}, event{eventDeleted, "/d"})
}

// The connection may wake up while the hub is still telling its other watches of the same change.
func TestAnIdleConnectionIsToldOfAChangeAsAWhole(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	crowd := s.store.Hub().NewFeed() // keeps the hub busy between the watches of our connection
	defer crowd.Close()
	for i := range int64(2000) {
		path := []string{"/i/n", "/i"}[i%2]
		if err := crowd.Add(i, core.Watch{Match: core.MatchChildren, Key: []byte(path)}); err != nil {
			t.Fatal(err)
		}
	}
	addWatch(c, "/i/n", addPersistent)
	for range 100 {
		s.do(put("/i/n", ""), put("/i/other", ""))
		c.event()
		c.take()
		c.get("/i/n", true)
		c.children("/i/n", true)
		c.children("/i", true)
		s.do(deleteKey("/i/n"))
		events := append([]event{c.event()}, c.take()...)
		wantEvents(t, events, event{eventDeleted, "/i/n"}, event{eventChildrenChanged, "/i"})
	}
}

func TestEventsOfOneMultiComeEach(t *testing.T) {
	s := startServer(t, Options{})
	c, w := s.connect(), s.connect()
	c.create("/m", "", modePersistent)
	addWatch(w, "/m", addPersistent)
	other := s.connect()
	other.get("/m", true)
	c.want(c.call(opMulti, items(
		item(5, setBody("/m", "1", -1)), item(5, setBody("/m", "2", -1)), item(2, numberBody("/m", -1)),
	)), codeOK)
	wantEvents(t, w.take(), event{eventDataChanged, "/m"}, event{eventDataChanged, "/m"}, event{eventDeleted, "/m"})
	wantEvents(t, other.take(), event{eventDataChanged, "/m"})
}

func TestWatchesAreFoundAndRemovedByKind(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	c.create("/k", "", modePersistent)
	c.get("/k", true)
	c.children("/k", true)
	addWatch(c, "/k", addPersistent)
	addWatch(c, "/k", addRecursive)
	for _, number := range []int32{watchTypeChildren, watchTypeData, watchTypePersistent, watchTypeRecursive} {
		c.want(c.call(17, numberBody("/k", number)), codeOK)
		c.want(c.call(18, numberBody("/k", number)), codeOK)
		c.want(c.call(17, numberBody("/k", number)), codeNoWatcher)
	}
	c.get("/k", true)
	c.children("/k", true)
	c.want(c.call(18, numberBody("/k", watchTypeAny)), codeOK)
	c.set("/k", "x")
	wantEvents(t, c.take())
	c.want(c.call(18, numberBody("/k", 9)), codeMarshallingError)
	c.want(c.call(106, numberBody("/k", 9)), codeMarshallingError)
	addWatch(c, "no path", addRecursive) // the peer takes it too
	c.want(c.call(18, numberBody("no path", watchTypeAny)), codeOK)
}

func TestAnExpiringLeaseFiresWatches(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	grant := &corepb.LeaseGrant{Id: 77, TtlMillis: 60_000}
	s.do(&corepb.Op{Op: &corepb.Op_LeaseGrant{LeaseGrant: grant}})
	s.do(&corepb.Op{Op: &corepb.Op_Put{Put: &corepb.Put{Key: []byte("/leased"), Lease: 77}}})
	if _, stat := c.get("/leased", true); stat.EphemeralOwner != 77 {
		t.Errorf("ephemeralOwner %d", stat.EphemeralOwner)
	}
	s.do(revoke(77))
	if e := c.event(); e != (event{eventDeleted, "/leased"}) {
		t.Errorf("%v", e)
	}
}

func TestTheNumberOfWatchesIsBounded(t *testing.T) {
	s := startServer(t, Options{WatchesMax: 3})
	c := s.connect()
	for i := range 3 {
		c.exists(fmt.Sprintf("/%d", i), true)
	}
	c.exists("/0", true) // there already
	c.want(c.call(3, watchBody("/3", true)), codeSystemError)
	s.do(put("/0", ""))
	wantEvents(t, c.take(), event{eventCreated, "/0"})
	c.exists("/3", true)
	if n := s.Metrics().Watches; n != 3 {
		t.Errorf("%d watches", n)
	}
}

// setWatches is what a client sends when it is back.
func setWatches(c *client, op int32, seen int64, lists ...[]string) {
	c.t.Helper()
	c.sendAs(-8, op, func(e *encoder) {
		e.int64(seen)
		for _, list := range lists {
			e.strings(list)
		}
	})
	c.want(c.answer(-8), codeOK)
}

func TestAfterAReconnectWhatChangedIsToldAtOnceAndTheRestIsWatched(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	for _, path := range []string{"/same", "/changed", "/gone", "/parent", "/quiet"} {
		c.create(path, "", modePersistent)
	}
	_, stat := c.get("/quiet", false)
	seen := stat.Czxid
	c.set("/changed", "x")
	c.delete("/gone")
	c.create("/made", "", modePersistent)
	c.create("/parent/child", "", modePersistent)

	back := s.connectAs(hello{session: c.session, password: c.password, seen: seen})
	setWatches(back, 101, seen,
		[]string{"/same", "/changed", "/gone"}, []string{"/made", "/never"}, []string{"/parent", "/quiet", "/gone"})
	wantEvents(t, back.events,
		event{eventDataChanged, "/changed"}, event{eventDeleted, "/gone"},
		event{eventCreated, "/made"},
		event{eventChildrenChanged, "/parent"}, event{eventDeleted, "/gone"})
	back.events = nil

	s.do(put("/same", "x"), put("/changed", "y"), put("/never", ""), put("/quiet/x", ""), put("/parent/y", ""))
	wantEvents(t, back.take(),
		event{eventDataChanged, "/same"}, event{eventCreated, "/never"}, event{eventChildrenChanged, "/quiet"})
}

func TestPersistentWatchesAreSetAgain(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	setWatches(c, 105, 0, nil, nil, nil, []string{"/p"}, []string{"/r"})
	wantEvents(t, c.events)
	s.do(put("/p", "x"))
	s.do(put("/r/a", "x"))
	s.do(put("/p", "y"))
	wantEvents(t, c.take(),
		event{eventCreated, "/p"}, event{eventCreated, "/r"}, event{eventCreated, "/r/a"}, event{eventDataChanged, "/p"})
}

func TestWatchesThatCannotBeSetAgainEndTheConnection(t *testing.T) {
	s := startServer(t, Options{WatchesMax: 1})
	c := s.connect()
	setWatches(c, 101, 0, nil, []string{"/a", "/b"}, nil)
	c.wantClosed()
}
