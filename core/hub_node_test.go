package core

import (
	"fmt"
	"testing"

	"github.com/triglot/triglot/storage"
)

func TestNodeWatchesSeeWhatZooKeeperWouldTell(t *testing.T) {
	created := asNode(storage.NodeCreated, 2, putEvent("/a/b/c"))     // /a/b and /a appear
	deleted := asNode(storage.NodeDeleted, 2, deleteEvent("/a/b/c"))  // and vanish
	alone := asNode(storage.NodeCreated, 0, putEvent("/a/b/c"))       // under a node that is there
	changed := asNode(storage.NodeDataChanged, 0, putEvent("/a/b"))   // its data
	hollow := asNode(storage.NodeDataChanged, 0, deleteEvent("/a/b")) // its key goes, the node stays for its children
	top := asNode(storage.NodeCreated, 0, putEvent("/t"))             // right under the root
	root := asNode(storage.NodeDataChanged, 0, putEvent("/"))         // the root's data
	notNode := putEvent("/a/b/")                                      // no path
	list := pushEvent("/a/b")                                         // a collection is no node
	private := eventInSpace(2, putEvent("/a/b"))                      // nor is a private key
	cases := []struct {
		event *storage.Event
		match Match
		path  string
		want  []string
	}{
		{created, MatchNode, "/a/b/c", []string{"created /a/b/c"}},
		{created, MatchNode, "/a/b", []string{"created /a/b"}},
		{created, MatchNode, "/a", []string{"created /a"}},
		{created, MatchNode, "/", nil},
		{created, MatchNode, "/a/b/c/d", nil},
		{created, MatchNode, "/a/bb", nil},
		{created, MatchChildren, "/a/b/c", nil},
		{created, MatchChildren, "/a/b", []string{"children /a/b"}},
		{created, MatchChildren, "/a", []string{"children /a"}},
		{created, MatchChildren, "/", []string{"children /"}},
		{created, MatchSubtree, "/", []string{"created /a", "created /a/b", "created /a/b/c"}},
		{created, MatchSubtree, "/a", []string{"created /a", "created /a/b", "created /a/b/c"}},
		{created, MatchSubtree, "/a/b", []string{"created /a/b", "created /a/b/c"}},
		{created, MatchSubtree, "/a/b/c", []string{"created /a/b/c"}},
		{created, MatchSubtree, "/a/b/c/d", nil},

		{deleted, MatchNode, "/a/b/c", []string{"deleted /a/b/c"}},
		{deleted, MatchNode, "/a", []string{"deleted /a"}},
		{deleted, MatchNode, "/", nil},
		{deleted, MatchChildren, "/a/b/c", []string{"deleted /a/b/c"}},
		{deleted, MatchChildren, "/a/b", []string{"deleted /a/b"}},
		{deleted, MatchChildren, "/a", []string{"deleted /a"}},
		{deleted, MatchChildren, "/", []string{"children /"}},
		{deleted, MatchSubtree, "/", []string{"deleted /a/b/c", "deleted /a/b", "deleted /a"}},
		{deleted, MatchSubtree, "/a/b", []string{"deleted /a/b/c", "deleted /a/b"}},

		{alone, MatchNode, "/a/b", nil},
		{alone, MatchNode, "/a/b/c", []string{"created /a/b/c"}},
		{alone, MatchChildren, "/a/b", []string{"children /a/b"}},
		{alone, MatchChildren, "/a", nil},
		{alone, MatchChildren, "/", nil},
		{alone, MatchSubtree, "/", []string{"created /a/b/c"}},

		{changed, MatchNode, "/a/b", []string{"data /a/b"}},
		{changed, MatchNode, "/a", nil},
		{changed, MatchChildren, "/a/b", nil},
		{changed, MatchChildren, "/a", nil},
		{changed, MatchSubtree, "/a", []string{"data /a/b"}},
		{changed, MatchSubtree, "/", []string{"data /a/b"}},

		{hollow, MatchNode, "/a/b", []string{"data /a/b"}},
		{hollow, MatchChildren, "/a", nil},
		{hollow, MatchSubtree, "/a/b", []string{"data /a/b"}},

		{top, MatchNode, "/", nil},
		{top, MatchChildren, "/", []string{"children /"}},
		{top, MatchSubtree, "/", []string{"created /t"}},

		{root, MatchNode, "/", []string{"data /"}},
		{root, MatchNode, "/a", nil},
		{root, MatchChildren, "/", nil},
		{root, MatchSubtree, "/", []string{"data /"}},

		{notNode, MatchSubtree, "/", nil},
		{list, MatchNode, "/a/b", nil},
		{private, MatchNode, "/a/b", nil},
		{private, MatchSubtree, "/", nil},
	}
	for _, c := range cases {
		for _, replay := range []bool{false, true} {
			name := fmt.Sprintf("%s %s ancestors %d, match %d on %s, replay %t", nodeChangeNames[c.event.Node], c.event.Key,
				c.event.Ancestors, c.match, c.path, replay)
			t.Run(name, func(t *testing.T) {
				options := HubOptions{}
				if replay {
					options.EventsMax = 1
				}
				s := newHubStore(t, options)
				f := s.hub.NewFeed()
				mustWatch(t, f, 1, Watch{Match: c.match, Key: []byte(c.path)})
				mustWatch(t, f, 2, Watch{Match: c.match, Key: []byte(c.path), Once: true})
				event := *c.event
				s.commit(&event)
				s.commit(putEvent("x"))
				var want []string
				for _, w := range c.want {
					want = append(want, "1:"+w+"@2")
				}
				if len(c.want) > 0 {
					want = append(want, "2:"+c.want[0]+"@2")
				}
				got := drainFeed(f)
				if len(got) == 2 && got[0].ID == 2 {
					got[0], got[1] = got[1], got[0] // both fell due at once
				}
				expectNotices(t, got, want...)
			})
		}
	}
}

func TestOneShotWatchFiresForTheFirstChangeOnly(t *testing.T) {
	s := newHubStore(t, HubOptions{})
	f := s.hub.NewFeed()
	mustWatch(t, f, 1, Watch{Match: MatchChildren, Key: []byte("/p"), Once: true})
	mustWatch(t, f, 2, Watch{Match: MatchChildren, Key: []byte("/p")})
	s.commit(asNode(storage.NodeCreated, 0, putEvent("/p/1")), asNode(storage.NodeCreated, 0, putEvent("/p/2")))
	s.commit(asNode(storage.NodeDeleted, 0, deleteEvent("/p")))
	got := drainFeed(f)
	if got[0].ID == 2 {
		got[0], got[1] = got[1], got[0]
	}
	expectNotices(t, got, "1:children /p@2", "2:children /p@2", "2:children /p@2", "2:deleted /p@3")
	if e := got[1].Nodes[1]; e.Sub != 1 {
		t.Fatalf("the order within a revision is lost: %+v", e)
	}
}
