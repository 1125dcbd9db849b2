package zkcompat

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/triglot/triglot/core/corepb"
)

func TestANodeIsWhatAnyProtocolMadeOfItsKey(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	c.create("/a", "one", modePersistent)
	if stat := c.set("/a", "two"); stat.Version != 1 || stat.DataLength != 3 {
		t.Errorf("after setData: %+v", stat)
	}
	s.do(put("/a", "three"))
	data, stat := c.get("/a", false)
	if data != "three" || stat.Version != 2 {
		t.Errorf("after a put: %q %+v", data, stat)
	}
	s.do(put("/a/b", "x"), put("not a path", "x"))
	if names := c.children("/a", false); !slices.Equal(names, []string{"b"}) {
		t.Errorf("children: %q", names)
	}
	c.delete("/a/b")
	c.delete("/a")
	if c.exists("/a", false) {
		t.Error("/a is still there")
	}
}

func TestAListIsNoNodeButItsNameIsTaken(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	push := &corepb.ListPush{Key: []byte("/list"), Values: [][]byte{[]byte("x")}}
	s.do(&corepb.Op{Op: &corepb.Op_ListPush{ListPush: push}})
	c.want(c.call(opCreate, createBody("/list", "", 0)), codeNodeExists)
	c.want(c.call(5, setBody("/list", "", -1)), codeNoNode)
	c.want(c.call(2, numberBody("/list", -1)), codeNoNode)
	if c.exists("/list", false) || slices.Contains(c.children("/", false), "list") {
		t.Error("the list is shown as a node")
	}
}

func TestAbsentAncestorsAreNodes(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	s.do(put("/x/y/z", "v"))
	data, stat := c.get("/x/y", false)
	if data != "" || stat.Version != 0 || stat.NumChildren != 1 || stat.EphemeralOwner != 0 {
		t.Errorf("implicit node: %q %+v", data, stat)
	}
	c.want(c.call(2, numberBody("/x", -1)), codeNotEmpty)
	if stat := c.set("/x", "real"); stat.Version != 1 {
		t.Errorf("setData of an implicit node: %+v", stat)
	}
	c.create("/x/y", "real too", modePersistent)
	c.want(c.call(opCreate, createBody("/x/y", "", 0)), codeNodeExists)
	c.delete("/x/y/z")
	if !c.exists("/x/y", false) {
		t.Error("/x/y was made real and went with its child")
	}
	s.do(put("/i/j", "v"))
	c.delete("/i/j")
	if c.exists("/i", false) {
		t.Error("/i outlived its last child")
	}
}

func TestEveryCreateMode(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	c.create("/p", "", modePersistent)
	for i, test := range []struct {
		mode int32
		want string
	}{
		{modePersistent, "/p/n0"},
		{modeEphemeral, "/p/n1"},
		{modeSequential, "/p/n20000000002"},
		{modeEphemeralSequential, "/p/n30000000003"},
		{modeContainer, "/p/n4"},
	} {
		path := c.create(fmt.Sprintf("/p/n%d", i), "x", test.mode)
		if path != test.want {
			t.Errorf("mode %d made %s, want %s", test.mode, path, test.want)
		}
		_, stat := c.get(path, false)
		if owned := stat.EphemeralOwner == c.session; owned != (test.mode == 1 || test.mode == 3) {
			t.Errorf("mode %d: ephemeralOwner %#x", test.mode, stat.EphemeralOwner)
		}
	}
	if path := c.create("/p/", "", modeSequential); path != "/p/0000000005" {
		t.Errorf("a sequence number alone made %s", path)
	}
	c.want(c.call(opCreate, createBody("/p/n1/x", "", 0)), codeNoChildrenForEphemerals)
	c.want(c.call(opCreate, createBody("/no/x", "", 0)), codeNoNode)
	for _, mode := range []int32{-1, modeTTL, modeSequentialTTL, 7} {
		c.want(c.call(opCreate, createBody("/bad", "", mode)), codeBadArguments)
	}
	for _, op := range []int32{opCreate2, opCreateContainer} {
		r := c.want(c.call(op, createBody(fmt.Sprintf("/c%d", op), "xyz", modeContainer)), codeOK)
		if path, stat := r.body.string(), readStat(r.body); !r.body.ok() || stat.DataLength != 3 || stat.Czxid != r.zxid {
			t.Errorf("opcode %d: %s %+v", op, path, stat)
		}
	}
	ttl := func(mode int32, millis int64) reply {
		return c.call(opCreateTTL, func(e *encoder) {
			createBody("/ttl", "", mode)(e)
			e.int64(millis)
		})
	}
	for _, bad := range []int64{0, -1, nodeTTLMillisMax + 1} {
		c.want(ttl(modeTTL, bad), codeBadArguments)
	}
	c.want(ttl(modePersistent, 1000), codeBadArguments)
	c.want(ttl(modeTTL, 150), codeOK)
	if c.exists("/ttl", true) {
		if e := c.event(); e != (event{eventDeleted, "/ttl"}) {
			t.Errorf("%+v", e)
		}
	}
}

func TestPathsAreJudgedAsThePeerDoes(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	c.create("/p", "", modePersistent)
	const ok, bad, none = codeOK, codeBadArguments, codeNoNode
	for _, test := range []struct {
		path                      string
		create, read, set, delete code
	}{
		{"x", bad, none, bad, bad},
		{"", bad, ok, bad, bad},
		{"/", codeNodeExists, ok, ok, bad},
		{"//", bad, none, bad, none},
		{"/p/", bad, none, bad, none},
		{"/p//x", none, none, bad, none},
		{"/./x", none, none, bad, none},
		{"/p/.", bad, none, bad, none},
		{"/p/..", bad, none, bad, none},
		{"/p/...", ok, ok, ok, ok},
		{"/p/.x", ok, ok, ok, ok},
		{"/p\x00", bad, none, bad, bad},
		{"/p\x01", bad, none, bad, none},
		{"/p\x7f", bad, none, bad, none},
		{"/p\u009f", bad, none, bad, none},
		{"/p\ue000", bad, none, bad, none},
		{"/p\uf900", ok, ok, ok, ok},
		{"/p\ufff0", bad, none, bad, none},
		{"/p\U0001f600", bad, none, bad, none},
		{"/p\xff", bad, none, bad, none},
		{"/p\xed\xa0\x80", bad, none, bad, none},
		{"/zookeeper", codeNodeExists, ok, codeNoAuth, bad},
		{"/zookeeper/quota/x", codeNoAuth, none, codeNoAuth, codeNoAuth},
	} {
		for _, step := range []struct {
			name string
			want code
			got  reply
		}{
			{"create", test.create, c.call(opCreate, createBody(test.path, "", 0))},
			{"getData", test.read, c.call(opGetData, watchBody(test.path, false))},
			{"getChildren", test.read, c.call(opGetChildren, watchBody(test.path, false))},
			{"setData", test.set, c.call(5, setBody(test.path, "", -1))},
			{"delete", test.delete, c.call(2, numberBody(test.path, -1))},
		} {
			if step.got.failure != step.want {
				t.Errorf("%s %q: error %d, want %d", step.name, test.path, step.got.failure, step.want)
			}
		}
	}
	c.want(c.call(3, watchBody("/p\x00", false)), bad)
}

func TestVersionsAreChecked(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	c.create("/v", "", modePersistent)
	c.want(c.call(5, setBody("/v", "", 1)), codeBadVersion)
	c.want(c.call(5, setBody("/v", "", -2)), codeBadVersion)
	c.want(c.call(5, setBody("/v", "", 0)), codeOK)
	c.want(c.call(2, numberBody("/v", 0)), codeBadVersion)
	c.want(c.call(2, numberBody("/v", 1)), codeOK)
}

func TestOnlyTheOpenACLIsTaken(t *testing.T) {
	var log logBook
	s := startServer(t, Options{Logger: log.logger()})
	c := s.connect()
	entry := func(perms int32, scheme, id string) func(*encoder) {
		return func(e *encoder) {
			e.int32(perms)
			e.string(scheme)
			e.string(id)
		}
	}
	open := entry(31, "world", "anyone")
	try := func(path string, entries ...func(*encoder)) reply {
		return c.call(opCreate, func(e *encoder) {
			e.string(path)
			e.bytes(nil)
			e.length(len(entries))
			for _, write := range entries {
				write(e)
			}
			e.int32(0)
		})
	}
	c.want(try("/no"), codeInvalidACL)
	c.want(try("/no", entry(1, "world", "anyone")), codeInvalidACL)
	c.want(try("/no", entry(31, "digest", "u:h")), codeInvalidACL)
	c.want(try("/no", open, entry(31, "auth", "")), codeInvalidACL)
	if c.exists("/no", false) {
		t.Error("a node with a refused ACL was made")
	}
	c.want(try("/yes", open, open), codeOK)

	r := c.want(c.call(6, pathBody("/yes")), codeOK)
	if isOpen, why := decodeACL(r.body); !isOpen {
		t.Errorf("getACL: %s", why)
	}
	setACL := func(path string, version int32, entries ...func(*encoder)) reply {
		return c.call(7, func(e *encoder) {
			e.string(path)
			e.length(len(entries))
			for _, write := range entries {
				write(e)
			}
			e.int32(version)
		})
	}
	c.want(setACL("/yes", -1, open), codeOK)
	c.want(setACL("/yes", 1, open), codeBadVersion)
	c.want(setACL("/yes", -1, entry(15, "world", "anyone")), codeInvalidACL)
	c.want(setACL("/none", -1, open), codeNoNode)
	if n := log.count("ACL refused"); n != 1 {
		t.Errorf("%d lines about refused ACLs, want one for the connection", n)
	}
}

func TestTheReservedNodesAreShownAndCannotBeChanged(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	if names := c.children("/", false); !slices.Equal(names, []string{"zookeeper"}) {
		t.Errorf("ls /: %q", names)
	}
	if names := c.children("/zookeeper", false); !slices.Equal(names, []string{"config", "quota"}) {
		t.Errorf("ls /zookeeper: %q", names)
	}
	if data, _ := c.get("/zookeeper/config", false); data != "" {
		t.Errorf("config: %q", data)
	}
	if n := c.want(c.call(104, pathBody("/")), codeOK).body.int32(); n != 3 {
		t.Errorf("%d nodes below the root", n)
	}
	s.do(put("/zookeeper/mine", "x"))
	if names := c.children("/", false); !slices.Equal(names, []string{"zookeeper"}) {
		t.Errorf("ls / with a key below: %q", names)
	}
	if names := c.children("/zookeeper", false); !slices.Equal(names, []string{"config", "mine", "quota"}) {
		t.Errorf("ls /zookeeper with a key below: %q", names)
	}
	c.want(c.call(2, numberBody("/zookeeper/mine", -1)), codeNoAuth)
}

func TestDescendantsAndEphemeralsAreListed(t *testing.T) {
	s := startServer(t, Options{})
	c, other := s.connect(), s.connect()
	s.do(put("/t/a/b/c", "x"), put("/t/a/d", "x"), put("/t.x", "x"))
	if n := c.want(c.call(104, pathBody("/t")), codeOK).body.int32(); n != 4 {
		t.Errorf("%d nodes below /t, want a, a/b, a/b/c and a/d", n)
	}
	c.want(c.call(104, pathBody("/none")), codeNoNode)
	c.create("/t/e1", "", modeEphemeral)
	c.create("/e2", "", modeEphemeral)
	other.create("/t/e3", "", modeEphemeral)
	list := func(prefix string) []string { return c.want(c.call(103, pathBody(prefix)), codeOK).body.strings() }
	if paths := list(""); !slices.Equal(paths, []string{"/e2", "/t/e1"}) {
		t.Errorf("all: %q", paths)
	}
	if paths := list("/t"); !slices.Equal(paths, []string{"/t/e1"}) {
		t.Errorf("/t: %q", paths)
	}
}

func TestIdentitiesAreTheAddressAndNoOther(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	who := c.want(c.call(107, nil), codeOK).body
	if n, scheme, id := who.int32(), who.string(), who.string(); n != 1 || scheme != "ip" || id != "127.0.0.1" {
		t.Errorf("whoAmI: %d %s %s", n, scheme, id)
	}
	c.sendAs(-4, 100, func(e *encoder) {
		e.int32(0)
		e.string("digest")
		e.string("u:p")
	})
	c.want(c.answer(-4), codeAuthFailed)
	c.wantClosed()
}

func TestRequestsThatAreNotServed(t *testing.T) {
	s := startServer(t, Options{})
	for _, op := range []int32{0, 13, 20, 55, -10} {
		c := s.connect()
		r := c.want(c.call(op, numberBody("/", -1)), codeUnimplemented)
		if r.zxid != -1 {
			t.Errorf("opcode %d: zxid %d", op, r.zxid)
		}
		c.wantClosed()
	}
	c := s.connect()
	c.want(c.call(16, nil), codeReconfigDisabled)
	c.take() // still open
}

func TestSyncAnswersItsPath(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	result, err := s.store.Do(context.Background(), &corepb.Txn{Then: []*corepb.Op{put("/s", "x")}})
	if err != nil {
		t.Fatal(err)
	}
	r := c.want(c.call(9, pathBody("/any")), codeOK)
	if path := r.body.string(); path != "/any" || r.zxid < result.Revision {
		t.Errorf("%s at %d, after a write at %d", path, r.zxid, result.Revision)
	}
}

func TestAContainerIsAnOrdinaryNodeUntilItWasUsed(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	before := time.Now().UnixMilli()
	c.create("/box", "", modeContainer)
	_, stat := c.get("/box", false)
	if stat.EphemeralOwner != 0 || stat.Ctime < before || stat.Mtime != stat.Ctime {
		t.Errorf("%+v", stat)
	}
}
