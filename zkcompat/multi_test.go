package zkcompat

import (
	"slices"
	"testing"
)

// item is one op of a multi.
func item(op int32, write func(*encoder)) func(*encoder) {
	return func(e *encoder) {
		e.itemHeader(op, -1)
		write(e)
	}
}

func items(list ...func(*encoder)) func(*encoder) {
	return func(e *encoder) {
		for _, write := range list {
			write(e)
		}
		e.itemsEnd()
	}
}

// wantHeader checks the header before an item's result.
func wantHeader(t *testing.T, d *decoder, number int32, failure code) {
	t.Helper()
	if gotNumber, done, got := d.int32(), d.bool(), code(d.int32()); gotNumber != number || done || got != failure {
		t.Fatalf("an item's header is %d %v %d, want %d false %d", gotNumber, done, got, number, failure)
	}
}

func wantEnd(t *testing.T, d *decoder) {
	t.Helper()
	if number, done, failure := d.int32(), d.bool(), d.int32(); number != -1 || !done || failure != -1 || len(d.rest) != 0 {
		t.Fatalf("the end is %d %v %d, %d bytes follow", number, done, failure, len(d.rest))
	}
}

func TestAMultiAnswersEachItemInItsOwnShape(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	ttl := func(e *encoder) {
		createBody("/m/t", "", modeTTL)(e)
		e.int64(60_000)
	}
	r := c.want(c.call(opMulti, items(
		item(opCreate, createBody("/m", "x", 0)),
		item(opCreate2, createBody("/m/s-", "", modeSequential)),
		item(opCreateContainer, createBody("/m/c", "", modeContainer)),
		item(opCreateTTL, ttl),
		item(5, setBody("/m", "yy", 0)),
		item(13, numberBody("/m", 1)),
		item(13, numberBody("/zookeeper", 0)),
		item(2, numberBody("/m/c", -1)),
	)), codeOK)
	d := r.body
	wantHeader(t, d, opCreate, codeOK)
	first := d.string()
	wantHeader(t, d, opCreate, codeOK)
	second := d.string()
	wantHeader(t, d, opCreate2, codeOK)
	third, stat := d.string(), readStat(d)
	wantHeader(t, d, opCreate2, codeOK)
	fourth, _ := d.string(), readStat(d)
	if paths := []string{first, second, third, fourth}; !slices.Equal(paths, []string{"/m", "/m/s-0000000000", "/m/c", "/m/t"}) {
		t.Errorf("%q", paths)
	}
	if stat.Czxid != r.zxid {
		t.Errorf("one of the multi's nodes has czxid %d, the multi has %d", stat.Czxid, r.zxid)
	}
	wantHeader(t, d, 5, codeOK)
	if stat := readStat(d); stat.Version != 1 || stat.DataLength != 2 || stat.Mzxid != r.zxid {
		t.Errorf("%+v", stat)
	}
	wantHeader(t, d, 13, codeOK)
	wantHeader(t, d, 13, codeOK)
	wantHeader(t, d, 2, codeOK)
	wantEnd(t, d)
	if names := c.children("/m", false); !slices.Equal(names, []string{"s-0000000000", "t"}) {
		t.Errorf("children: %q", names)
	}
}

func TestAMultiThatFailsChangesNothingAndSaysWhere(t *testing.T) {
	s := startServer(t, Options{})
	c, watcher := s.connect(), s.connect()
	c.create("/m", "x", modePersistent)
	watcher.children("/m", true)
	watcher.get("/m", true)
	create := func(path string) func(*encoder) { return item(opCreate, createBody(path, "", modeSequential)) }
	for _, test := range []struct {
		name  string
		items []func(*encoder)
		want  []code
	}{
		{"a check in the middle", []func(*encoder){
			create("/m/a"), item(5, setBody("/m", "y", -1)), item(13, numberBody("/m", 99)), create("/m/b"),
		}, []code{0, 0, codeBadVersion, codeRuntimeInconsistency}},
		{"the first", []func(*encoder){create("/no/a"), create("/m/b")}, []code{codeNoNode, codeRuntimeInconsistency}},
		{"a check of a reserved node", []func(*encoder){create("/m/a"), item(13, numberBody("/zookeeper", 3))}, []code{0, codeBadVersion}},
		{"a path that cannot be", []func(*encoder){create("/m/a"), create("m"), create("/m/b")},
			[]code{0, codeBadArguments, codeRuntimeInconsistency}},
		{"a node before a path that cannot be", []func(*encoder){create("/no/a"), create("m")},
			[]code{codeNoNode, codeRuntimeInconsistency}},
		{"a reserved node", []func(*encoder){create("/m/a"), item(2, numberBody("/zookeeper", -1))}, []code{0, codeBadArguments}},
	} {
		r := c.want(c.call(opMulti, items(test.items...)), codeOK)
		for _, want := range test.want {
			wantHeader(t, r.body, opError, want)
			if got := code(r.body.int32()); got != want {
				t.Errorf("%s: result %d after a header with %d", test.name, got, want)
			}
		}
		wantEnd(t, r.body)
	}
	if data, stat := c.get("/m", false); data != "x" || stat.Version != 0 || stat.Cversion != 0 {
		t.Errorf("after multis that failed: %q %+v", data, stat)
	}
	if path := c.create("/m/s", "", modeSequential); path != "/m/s0000000000" {
		t.Errorf("a failed multi has used a sequence number: %s", path)
	}
	if events := watcher.take(); !slices.Equal(events, []event{{eventChildrenChanged, "/m"}}) {
		t.Errorf("events %v, want that of the create alone", events)
	}
}

func TestAMultiMayBeEmptyAndMayNotHoldReads(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	wantEnd(t, c.want(c.call(opMulti, items()), codeOK).body)
	for _, op := range []int32{3, opMulti, opCloseSession, 99} {
		c := s.connect()
		c.want(c.call(opMulti, items(item(op, watchBody("/", false)))), codeMarshallingError)
		c.wantClosed()
	}
}

func TestAMultiReadAnswersEachItemByItself(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	c.create("/r", "data", modePersistent)
	c.create("/r/child", "", modePersistent)
	d := c.want(c.call(22, items(
		item(opGetData, watchBody("/r", true)), item(opGetData, watchBody("/none", false)), item(opGetChildren, watchBody("/r", false)),
	)), codeOK).body
	wantHeader(t, d, opGetData, codeOK)
	if data := string(d.bytes()); data != "data" {
		t.Errorf("data %q", data)
	}
	readStat(d)
	wantHeader(t, d, opError, codeNoNode)
	if failure := code(d.int32()); failure != codeNoNode {
		t.Errorf("error %d", failure)
	}
	wantHeader(t, d, opGetChildren, codeOK)
	if names := d.strings(); !slices.Equal(names, []string{"child"}) {
		t.Errorf("children %q", names)
	}
	wantEnd(t, d)
}
