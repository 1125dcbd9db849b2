package resp

import (
	"testing"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/core/coretest"
)

const (
	noPerm    = "-NOPERM No permissions to access a key"
	wrongPass = "-WRONGPASS invalid username-password pair or user is disabled."
)

// users are default, who may do anything with keys that begin with "a" and read "r", and root.
func withUsers(t *testing.T, opts Options) *node {
	n := startNode(t, opts)
	n.dial().do("mset r 1 x 1 abc 1", "+OK")
	coretest.EnableAuth(t, n.store, coretest.User{Name: "default", Password: "pw", Permissions: []*corepb.Permission{
		{Type: corepb.Permission_READWRITE, Key: []byte("a"), End: []byte("b")},
		{Type: corepb.Permission_READ, Key: []byte("r")},
	}})
	return n
}

func TestNobodyDoesAnythingWhileAuthenticationIsOn(t *testing.T) {
	n := withUsers(t, Options{})
	c := n.dial()
	for _, command := range []string{
		"get r", "set a 1", "ping", "keys *", "dbsize", "info", "subscribe a", "multi", "watch a", "blpop a 0", "config get *",
		"client list", "publish a b", "flushall",
	} {
		c.do(command, "-NOAUTH Authentication required.")
	}
	c.do("hello 3", "-"+errNoAuthHello)
	c.do("auth pw wrong what", "-ERR syntax error")
	c.do("auth wrong", wrongPass)
	c.do("auth nobody pw", wrongPass)
	c.do("get r", "-NOAUTH Authentication required.")
	c.do("auth pw", "+OK")
	c.do("get r", "$1 1")
	c.do("auth wrong", wrongPass) // which leaves the one before
	c.do("get r", "$1 1")
	c.do("reset", "+RESET")
	c.do("get r", "-NOAUTH Authentication required.")
	c.do("auth root rootpw", "+OK")
	c.do("get x", "$1 1")
}

func TestHelloLogsIn(t *testing.T) {
	n := withUsers(t, Options{})
	c := n.dial()
	c.do("hello 3 auth default wrong", wrongPass)
	c.do("get r", "-NOAUTH Authentication required.")
	c.send("hello 3 auth default pw\r\n")
	if line := c.line(); line != "%7" {
		t.Fatal(line)
	}
	for range 2 * 7 { // the keys and values of its map, with the lengths of those that are strings
		c.line()
	}
	for line := c.line(); line != "*0"; {
		line = c.line()
	}
	c.do("get r", "$1 1")
}

func TestUsersTouchWhatTheirRolesAllow(t *testing.T) {
	n := withUsers(t, Options{})
	c := n.dial()
	c.do("auth default pw", "+OK")
	for _, step := range []struct{ command, want string }{
		{"set a 1", "+OK"},
		{"get a", "$1 1"},
		{"set r 1", noPerm},
		{"get x", noPerm},
		{"mget a r", "*2 $1 1 $1 1"},
		{"mget a x", noPerm},
		{"exists x", noPerm},
		{"type x", noPerm},
		{"set x 1 get", noPerm},
		{"incr a", ":2"},
		{"rename a x", noPerm},
		{"copy r ab", ":1"},
		{"copy ab r", noPerm},
		{"del x", noPerm},
		{"del a", ":1"},
		{"rpush al 1 2", ":2"},
		{"lrange al 0 -1", "*2 $1 1 $1 2"},
		{"lpop al", "$1 1"},
		{"lmove al x left left", noPerm},
		{"blpop x 1", noPerm},
		{"hset ah f v", ":1"},
		{"hget ah f", "$1 v"},
		{"hget x f", noPerm},
		{"keys *", noPerm},
		{"scan 0", noPerm},
		{"randomkey", noPerm},
		{"flushall", noPerm},
		{"watch x", noPerm},
		{"client tracking on bcast prefix a", "+OK"},
		{"client tracking on bcast prefix x", noPerm},
		{"client tracking off", "+OK"},
		{"config set notify-keyspace-events KEA", "-NOPERM User default has no permissions to run the 'config|set' command"},
		{"multi", "+OK"},
		{"set a 1", "+QUEUED"},
		{"set x 1", "+QUEUED"},
		{"exec", noPerm},
		{"get a", "$-1"},
		{"publish c m", ":0"},
	} {
		c.do(step.command, step.want)
	}
	root := n.dial()
	root.do("auth root rootpw", "+OK")
	root.do("get x", "$1 1")
	root.do("flushall", "+OK")
}

// Notifications name keys: they are for those who may read every key. Messages are for everybody who has come in.
func TestNotificationsAreForThoseWhoMayReadEveryKey(t *testing.T) {
	n := withUsers(t, Options{NotifyKeyspaceEvents: "KEA"})
	root, user, writer := n.dial(), n.dial(), n.dial()
	root.do("auth root rootpw", "+OK")
	writer.do("auth root rootpw", "+OK")
	user.do("auth default pw", "+OK")
	for _, c := range []*client{root, user} {
		c.do("psubscribe *", "*3 $10 psubscribe $1 * :1")
	}
	writer.do("set x 2", "+OK")
	writer.do("publish c m", ":2")
	root.reads("*4 $8 pmessage $1 * $16 __keyspace@0__:x $3 set")
	root.reads("*4 $8 pmessage $1 * $18 __keyevent@0__:set $1 x")
	for _, c := range []*client{root, user} {
		c.reads("*4 $8 pmessage $1 * $1 c $1 m")
	}
}
