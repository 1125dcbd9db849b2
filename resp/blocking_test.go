package resp

import (
	"strconv"
	"testing"
)

// blockedAs waits until so many clients are blocked.
func (n *node) blockedAs(count int) {
	n.t.Helper()
	eventually(n.t, strconv.Itoa(count)+" blocked clients", func() bool { return n.srv.blockers.waiting() == count })
}

func TestBlockedClientsAreServedInTheOrderTheyCame(t *testing.T) {
	n := startNode(t, Options{})
	var waiting []*client
	for i := range 5 {
		c := n.dial()
		c.send("blpop other l 0\r\n")
		n.blockedAs(i + 1)
		waiting = append(waiting, c)
	}
	n.dial().do("rpush l a b c d e f", ":6")
	for i, c := range waiting {
		c.reads("*2 $1 l $1 " + string(rune('a'+i)))
	}
	n.blockedAs(0)
	n.dial().do("lrange l 0 -1", "*1 $1 f")
}

func TestEveryBlockingCommandWaits(t *testing.T) {
	n := startNode(t, Options{})
	pusher := n.dial()
	for _, c := range []struct{ request, push, reply string }{
		{"blpop l 0", "rpush l a b", "*2 $1 l $1 a"},
		{"brpop l 0", "rpush l a b", "*2 $1 l $1 b"},
		{"blmpop 0 2 nokey l right count 2", "rpush l a b", "*2 $1 l *2 $1 b $1 a"},
		{"blmove l m left right 0", "rpush l a b", "$1 a"},
		{"brpoplpush l m 0", "rpush l a b", "$1 b"},
		{"blpop l 0", "lmove source l left left", "*2 $1 l $1 s"},
		{"blpop l 0", "rename source l", "*2 $1 l $1 s"},
		{"blpop l 0", "copy source l", "*2 $1 l $1 s"},
	} {
		pusher.do("flushall", "+OK")
		pusher.do("rpush source s", ":1")
		blocked := n.dial()
		blocked.send(c.request + "\r\n")
		n.blockedAs(1)
		pusher.run(c.push)
		blocked.reads(c.reply)
		n.blockedAs(0)
	}
}

func TestATransactionOrAnotherKindWakesNobodyTooEarly(t *testing.T) {
	n := startNode(t, Options{})
	blocked, c := n.dial(), n.dial()
	blocked.send("blpop l 0\r\n")
	n.blockedAs(1)
	c.script([]exchange{
		{"set l string", "+OK"}, {"del l", ":1"}, {"hset l f v", ":1"}, {"del l", ":1"},
		{"multi", "+OK"}, {"rpush l a", "+QUEUED"}, {"del l", "+QUEUED"}, {"rpush l b", "+QUEUED"}, {"exec", "*3 :1 :1 :1"},
	})
	blocked.reads("*2 $1 l $1 b")
}

func TestADatabaseHasItsOwnQueues(t *testing.T) {
	n := startNode(t, Options{})
	blocked, c := n.dial(), n.dial()
	blocked.do("select 1", "+OK")
	blocked.send("blpop l 0\r\n")
	n.blockedAs(1)
	c.script([]exchange{{"rpush l zero", ":1"}, {"select 1", "+OK"}, {"rpush l one", ":1"}})
	blocked.reads("*2 $1 l $3 one")
}

func TestRequestsBehindABlockedOneWaitForIt(t *testing.T) {
	n := startNode(t, Options{})
	blocked := n.dial()
	blocked.send("set a 1\r\nblpop l 0\r\nincr a\r\n")
	blocked.reads("+OK")
	n.blockedAs(1)
	blocked.send("incr a\r\n") // read ahead
	n.dial().do("get a", "$1 1")
	n.dial().do("rpush l x", ":1")
	blocked.reads("*2 $1 l $1 x :2 :3")
}

func TestAHangUpEndsTheWaiting(t *testing.T) {
	n := startNode(t, Options{})
	gone, next := n.dial(), n.dial()
	gone.send("blpop l 0\r\n")
	n.blockedAs(1)
	next.send("blpop l 0\r\n")
	n.blockedAs(2)
	gone.nc.Close()
	n.blockedAs(1)
	n.dial().do("rpush l x", ":1")
	next.reads("*2 $1 l $1 x")
}

func TestClientUnblock(t *testing.T) {
	n := startNode(t, Options{})
	blocked, c := n.dial(), n.dial()
	blocked.send("client id\r\n")
	id := blocked.line()[1:]
	c.do("client unblock "+id, ":0")
	for _, e := range []exchange{
		{"client unblock " + id, "*-1"}, {"client unblock " + id + " timeout", "*-1"},
		{"client unblock " + id + " error", "-UNBLOCKED client unblocked via CLIENT UNBLOCK"},
	} {
		blocked.send("blpop l 0\r\n")
		eventually(t, "blocked", func() bool { return n.srv.client(1).public.blocked.Load() != nil })
		c.do(e.request, ":1")
		blocked.reads(e.reply)
	}
	blocked.do("ping", "+PONG")
}

func TestClientKillEndsABlockedClient(t *testing.T) {
	n := startNode(t, Options{})
	blocked := n.dial()
	blocked.send("blpop l 0\r\n")
	n.blockedAs(1)
	n.dial().do("client kill id 1", ":1")
	blocked.readsEnd()
	n.blockedAs(0)
}
