package zkcompat

import (
	"testing"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/core/coretest"
)

const (
	opExists       = 3
	opGetACL       = 6
	opSync         = 9
	opGetChildren2 = 12
	opAuth         = 100
	opSetWatches   = 101
	opAllChildren  = 104
	opAddWatch     = 106
	xidAuth        = -4
)

// login sends addauth and gives the code of its answer.
func (c *client) login(scheme, identity string) code {
	c.t.Helper()
	c.sendAs(xidAuth, opAuth, func(e *encoder) {
		e.int32(0)
		e.string(scheme)
		e.bytes([]byte(identity))
	})
	return c.answer(xidAuth).failure
}

// withUsers has the nodes /a, /a/b, /r and /x, and a user anna who may do anything in /a and read /r.
func withUsers(t *testing.T) *testServer {
	s := startServer(t, Options{})
	s.do(put("/a", "v"), put("/a/b", "v"), put("/r", "v"), put("/x", "v"))
	coretest.EnableAuth(t, s.store, coretest.User{Name: "anna", Password: "pw", Permissions: []*corepb.Permission{
		{Type: corepb.Permission_READWRITE, Key: []byte("/a")},
		{Type: corepb.Permission_READWRITE, Key: []byte("/a/"), End: []byte("/a0")},
		{Type: corepb.Permission_READ, Key: []byte("/r")},
	}})
	return s
}

func setWatchesBody(path string) func(*encoder) {
	return func(e *encoder) {
		e.int64(0)
		e.strings([]string{path})
		e.strings(nil)
		e.strings(nil)
	}
}

func TestUsersTouchTheNodesThatTheirRolesAllow(t *testing.T) {
	s := withUsers(t)
	create := func(path string, mode int32) func(*encoder) { return createBody(path, "v", mode) }
	calls := []struct {
		name string
		op   int32
		body func(*encoder)
		anna bool // she may
	}{
		{"read a node of hers", opGetData, watchBody("/a", false), true},
		{"and watch it", opGetData, watchBody("/a/b", true), true},
		{"read what she may read", opGetData, watchBody("/r", true), true},
		{"read another", opGetData, watchBody("/x", false), false},
		{"ask for another", opExists, watchBody("/x", true), false},
		{"ask for one that is not there", opExists, watchBody("/none", true), false},
		{"the ACL of another", opGetACL, pathBody("/x"), false},
		{"list her children", opGetChildren, watchBody("/a", true), true},
		{"list the root", opGetChildren2, watchBody("/", false), false},
		{"count below her node", opAllChildren, pathBody("/a"), true},
		{"count below one that she may only read itself", opAllChildren, pathBody("/r"), false},
		{"watch her subtree", opAddWatch, numberBody("/a", addRecursive), true},
		{"watch a node that she may read", opAddWatch, numberBody("/r", addPersistent), true},
		{"watch below it", opAddWatch, numberBody("/r", addRecursive), false},
		{"watch everything", opAddWatch, numberBody("/", addRecursive), false},
		{"renew a watch of hers", opSetWatches, setWatchesBody("/a"), true},
		{"renew another", opSetWatches, setWatchesBody("/x"), false},
		{"change hers", 5, setBody("/a", "w", anyVersion), true},
		{"change what she may read", 5, setBody("/r", "w", anyVersion), false},
		{"create in hers", opCreate, create("/a/c", modePersistent), true},
		{"create one that ends with her", opCreate, create("/a/e", modeEphemeral), true},
		{"create one with a number", opCreate, create("/a/s", modeSequential), true},
		{"create one with a number elsewhere", opCreate, create("/r/s", modeSequential), false},
		{"create elsewhere", opCreate, create("/y", modePersistent), false},
		{"delete hers", 2, numberBody("/a/c", anyVersion), true},
		{"delete another", 2, numberBody("/x", anyVersion), false},
	}
	nobody, anna, root := s.connect(), s.connect(), s.connect()
	if got := anna.login("digest", "anna:pw"); got != codeOK {
		t.Fatal(got)
	}
	if got := root.login("digest", "root:rootpw"); got != codeOK {
		t.Fatal(got)
	}
	for _, call := range calls {
		if got := nobody.call(call.op, call.body).failure; got != codeNoAuth {
			t.Errorf("nobody may %s: %d", call.name, got)
		}
		want := codeOK
		if !call.anna {
			want = codeNoAuth
		}
		if got := anna.call(call.op, call.body).failure; got != want {
			t.Errorf("anna, to %s: %d, want %d", call.name, got, want)
		}
	}
	nobody.want(nobody.call(opSync, pathBody("/")), codeOK)
	if data, _ := root.get("/x", false); data != "v" {
		t.Errorf("root reads %q", data)
	}
	root.delete("/x")
	// The end of a session takes its nodes along, whoever may write them.
	anna.want(anna.call(opCloseSession, func(*encoder) {}), codeOK)
	if root.exists("/a/e", false) {
		t.Error("the ephemeral node has outlived its session")
	}
}

func TestAWrongPasswordEndsTheConnection(t *testing.T) {
	s := withUsers(t)
	for _, identity := range []string{"anna:wrong", "anna", "", "nobody:pw"} {
		c := s.connect()
		if got := c.login("digest", identity); got != codeAuthFailed {
			t.Errorf("%q: %d", identity, got)
		}
		c.wantClosed()
	}
}
