package resp

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/triglot/triglot/core/corepb"
)

// tracker is a RESP3 connection with tracking on.
func (n *node) tracker(options string) *client {
	n.t.Helper()
	c := n.dial()
	c.run("hello 3")
	c.do("client tracking on "+options, "+OK")
	return c
}

// invalidated is the message for keys.
func invalidated(keys ...string) string {
	m := ">2 $10 invalidate *" + strconv.Itoa(len(keys))
	for _, key := range keys {
		m += " $" + strconv.Itoa(len(key)) + " " + key
	}
	return m
}

// quiet expects nothing before the reply to a PING.
func (c *client) quiet() {
	c.t.Helper()
	c.do("ping", "+PONG")
}

// settled waits until a client would have been told of everything: a key tracked for the purpose, and changed.
func (n *node) settled(c *client) {
	n.t.Helper()
	c.do("exists .mark", ":0")
	n.dial().script([]exchange{{"set .mark x", "+OK"}, {"del .mark", ":1"}})
	c.reads(invalidated(".mark"))
	c.quiet()
}

// The messages in this file are those of redis-server 7.0.15.
func TestAReadKeyIsInvalidatedOnce(t *testing.T) {
	n := startNode(t, Options{})
	c, other := n.tracker(""), n.dial()
	c.do("get k", "_")
	other.script([]exchange{{"set k 1", "+OK"}, {"set k 2", "+OK"}})
	c.reads(invalidated("k"))
	n.settled(c)
	for _, e := range []struct{ read, reply, change, changed string }{
		{"mget j k", "*2 _ $1 2", "mset k 1", "+OK"}, {"hgetall h", "%0", "hset h f v", ":1"},
		{"ttl k", ":-1", "expire k 100", ":1"}, {"exists k k", ":1", "persist k", ":1"},
		{"object encoding k", "$3 int", "rename k k2", "+OK"}, {"hlen h", ":1", "hdel h f", ":1"},
		{"llen l", ":0", "rpush l a b", ":2"}, {"lrange l 0 0", "*1 $1 a", "lpop l", "$1 a"}, {"type l", "+list", "del l", ":1"},
	} {
		key := strings.Fields(e.change)[1]
		if e.read == "exists k k" {
			e.reply = ":2"
		}
		c.do(e.read, e.reply)
		other.do(e.change, e.changed)
		c.reads(invalidated(key))
		n.settled(c)
	}
	// Its own changes count too, and come after the reply.
	c.script([]exchange{{"get k", "_"}, {"set k 5", "+OK " + invalidated("k")}, {"ping", "+PONG"}})
	n.settled(c)
	c.script([]exchange{
		{"multi", "+OK"}, {"get k", "+QUEUED"}, {"set k 6", "+QUEUED"}, {"exec", "*2 $1 5 +OK " + invalidated("k")},
		{"multi", "+OK"}, {"set k 7", "+QUEUED"}, {"get k", "+QUEUED"}, {"exec", "*2 +OK $1 7"},
	})
	n.settled(c)
	other.do("set k 8", "+OK")
	c.reads(invalidated("k"))
	c.script([]exchange{{"get k", "$1 8"}, {"client tracking off", "+OK"}})
	other.do("set k 9", "+OK")
	c.quiet()
}

func TestChangesThroughOtherProtocolsInvalidate(t *testing.T) {
	n := startNode(t, Options{})
	n.op(grantOp(7))
	for name, options := range map[string]string{"of keys": "", "of prefixes": "bcast"} {
		c := n.tracker(options)
		for what, op := range map[string]*corepb.Op{
			"put":     putOp(&corepb.Put{Key: []byte("/k"), Value: []byte("v"), Lease: 7}),
			"setData": {Op: &corepb.Op_NodeSetData{NodeSetData: &corepb.NodeSetData{Path: "/k", Data: []byte("w"), Version: -1}}},
			"delete":  deleteOp(&corepb.Delete{Key: []byte("/k"), End: []byte("/l")}),
			"create":  {Op: &corepb.Op_NodeCreate{NodeCreate: &corepb.NodeCreate{Path: "/k", Data: []byte("v")}}},
		} {
			n.dial().do("set /k there", "+OK")
			if what == "create" {
				n.dial().do("del /k", ":1")
			}
			if options == "bcast" {
				c.reads(invalidated("/k"))
				if what == "create" {
					c.reads(invalidated("/k"))
				}
			}
			c.run("get /k")
			n.op(op)
			c.reads(invalidated("/k"))
			if what == "put" {
				c.run("get /k")
				n.op(revokeOp(7))
				c.reads(invalidated("/k"))
				n.op(grantOp(7))
			}
			t.Log(name, what)
		}
	}
	c := n.tracker("")
	n.dial().do("set t v px 30", "+OK")
	c.run("get t")
	c.reads(invalidated("t"))
}

func TestTrackingKeepsDatabasesApart(t *testing.T) {
	n := startNode(t, Options{})
	c, other := n.tracker(""), n.dial()
	c.script([]exchange{{"get k", "_"}, {"select 4", "+OK"}, {"get k", "_"}, {"get z", "_"}})
	other.script([]exchange{{"select 4", "+OK"}, {"set k 1", "+OK"}})
	c.reads(invalidated("k"))
	c.do("get k", "$1 1")
	other.do("flushdb", "+OK")
	c.reads(">2 $10 invalidate _")
	// Nothing is tracked any more.
	other.script([]exchange{{"set z 1", "+OK"}, {"select 0", "+OK"}, {"set k 1", "+OK"}})
	c.do("select 0", "+OK")
	n.settled(c)
	// In the shared database every key's end is an event of its own.
	c.do("get k", "$1 1")
	other.do("flushall", "+OK")
	c.reads(invalidated("k"))
}

func TestNoLoopLeavesOwnChangesOut(t *testing.T) {
	n := startNode(t, Options{})
	c, other := n.tracker("noloop"), n.dial()
	for range 50 {
		c.script([]exchange{{"del k", ":0"}, {"get k", "_"}, {"set k 1", "+OK"}})
		n.settled(c)
		other.do("set k 2", "+OK") // not tracked any more
		n.settled(c)
		c.do("get k", "$1 2")
		other.do("set k 3", "+OK")
		c.reads(invalidated("k"))
		c.script([]exchange{{"multi", "+OK"}, {"get k", "+QUEUED"}, {"set k 4", "+QUEUED"}, {"exec", "*2 $1 3 +OK"}})
		n.settled(c)
		c.do("del k", ":1")
	}
	b := n.tracker("bcast noloop prefix c")
	b.script([]exchange{{"set c1 1", "+OK"}, {"mset c1 1 c2 2", "+OK"}, {"rpush cl a", ":1"}, {"blpop cl 1", "*2 $2 cl $1 a"}})
	other.do("set c3 1", "+OK")
	b.reads(invalidated("c3"))
}

func TestBroadcastTellsOfPrefixes(t *testing.T) {
	n := startNode(t, Options{})
	c, other := n.tracker("bcast prefix a prefix b"), n.dial()
	other.script([]exchange{{"mset cc 3 aa 1", "+OK"}})
	c.reads(invalidated("aa"))
	other.do("mset b1 1 b2 2 b1 3 c1 1", "+OK")
	c.reads(invalidated("b1", "b2"))
	other.script([]exchange{{"select 3", "+OK"}, {"set a1 1", "+OK"}})
	c.reads(invalidated("a1"))
	c.do("set a1 1", "+OK "+invalidated("a1"))
	c.do("client tracking on bcast prefix c", "+OK")
	other.do("set c1 1", "+OK")
	c.reads(invalidated("c1"))
	c.do("get x", "_")
	other.do("set x 1", "+OK")
	other.do("flushdb", "+OK")
	c.reads(">2 $10 invalidate _")
	all := n.tracker("bcast")
	other.do("set \xff\xff 1", "+OK")
	all.reads(invalidated("\xff\xff"))
	c.quiet()
}

func TestOptInAndOptOut(t *testing.T) {
	n := startNode(t, Options{})
	in, out, other := n.tracker("optin"), n.tracker("optout"), n.dial()
	in.script([]exchange{{"get k", "_"}, {"client caching yes", "+OK"}, {"get j", "_"}, {"get i", "_"}})
	out.script([]exchange{{"get k", "_"}, {"client caching no", "+OK"}, {"get j", "_"}, {"get i", "_"}})
	other.script([]exchange{{"set k 1", "+OK"}, {"set j 1", "+OK"}, {"set i 1", "+OK"}})
	in.reads(invalidated("j"))
	out.reads(invalidated("k") + " " + invalidated("i"))
	in.script([]exchange{
		{"client caching yes", "+OK"}, {"multi", "+OK"}, {"get k", "+QUEUED"}, {"get j", "+QUEUED"}, {"exec", "*2 $1 1 $1 1"},
		{"get i", "$1 1"},
	})
	other.script([]exchange{{"set i 1", "+OK"}, {"set k 1", "+OK"}, {"set j 1", "+OK"}})
	in.reads(invalidated("k") + " " + invalidated("j"))
	in.script([]exchange{
		{"client caching yes", "+OK"}, {"ping", "+PONG"}, {"get k", "$1 1"}, {"multi", "+OK"}, {"client caching yes", "+QUEUED"},
		{"get j", "+QUEUED"}, {"exec", "*2 +OK $1 1"}, {"get i", "$1 1"},
	})
	other.script([]exchange{{"set i 1", "+OK"}, {"set k 1", "+OK"}, {"set j 1", "+OK"}})
	in.reads(invalidated("j"))
	in.quiet()
}

func TestRedirection(t *testing.T) {
	n := startNode(t, Options{})
	target, c, other := n.dial(), n.dial(), n.dial()
	id := func(c *client) string { c.send("client id\r\n"); return c.line()[1:] }
	to := id(target)
	c.do("client tracking on redirect "+to, "+OK")
	target.do("subscribe __redis__:invalidate", "*3 $9 subscribe $20 __redis__:invalidate :1")
	c.do("get k", "$-1")
	other.do("set k 1", "+OK")
	target.reads("*3 $7 message $20 __redis__:invalidate *1 $1 k")
	c.script([]exchange{{"select 2", "+OK"}, {"get k", "$-1"}})
	other.script([]exchange{{"select 2", "+OK"}, {"set other 1", "+OK"}, {"flushdb", "+OK"}})
	target.reads("*3 $7 message $20 __redis__:invalidate $-1")
	c.do("client getredir", ":"+to)
	target.nc.Close()
	eventually(t, "the target has left", func() bool { return n.srv.client(mustInt(t, to)) == nil })
	c.do("get k", "$-1")
	other.do("set k 1", "+OK")
	eventually(t, "a broken redirection", func() bool {
		return strings.Contains(c.bulk("client info"), "flags=tR ")
	})
	c.do("client trackinginfo", "*6 $5 flags *2 $2 on $15 broken_redirect $8 redirect :"+to+" $8 prefixes *0")

	// A RESP3 target needs no subscription, and the owner is told when it is gone.
	target, c = n.dial(), n.dial()
	target.run("hello 3")
	c.run("hello 3")
	to = id(target)
	c.script([]exchange{{"client tracking on redirect " + to, "+OK"}, {"get k", "$1 1"}})
	other.script([]exchange{{"select 0", "+OK"}, {"set k 2", "+OK"}})
	c.do("get k", "$1 2")
	target.reads(invalidated("k"))
	target.do("ping", "+PONG")
	target.nc.Close()
	eventually(t, "the target has left", func() bool { return n.srv.client(mustInt(t, to)) == nil })
	c.do("get k", "$1 2")
	other.do("set k 3", "+OK")
	c.reads(">2 $21 tracking-redir-broken :" + to)
}

func mustInt(t *testing.T, s string) int64 {
	t.Helper()
	i, ok := parseInt([]byte(s))
	if !ok {
		t.Fatal(s)
	}
	return i
}

func TestTrackingCommandsAnswerAsRedis(t *testing.T) {
	n := startNode(t, Options{})
	c := n.dial()
	off := "*6 $5 flags *1 $3 off $8 redirect :-1 $8 prefixes *0"
	mode := " before disabling tracking for this client, and then re-enabling it with a different mode."
	c.script([]exchange{
		{"client tracking", "-ERR wrong number of arguments for 'client|tracking' command"}, {"client tracking foo", "-ERR syntax error"},
		{"client tracking on foo", "-ERR syntax error"}, {"client tracking on prefix", "-ERR syntax error"},
		{"client tracking on prefix a", "-ERR PREFIX option requires BCAST mode to be enabled"},
		{"client trackinginfo", off}, {"client getredir", ":-1"},
		{"client caching yes", "-ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled"},
		{"client tracking on redirect 9999", "-ERR The client ID you want redirect to does not exist"},
		{"client tracking on redirect abc", "-ERR value is not an integer or out of range"},
		{"client tracking on redirect 1 redirect 1", "-ERR A client can only redirect to a single other client"},
		{"client tracking on redirect 1", "+OK"}, {"client getredir", ":1"},
		{"client tracking on bcast", "-ERR You can't switch BCAST mode on/off" + mode},
		{"client tracking on optin optout", "-ERR You can't specify both OPTIN mode and OPTOUT mode"},
		{"client tracking on optin", "+OK"}, {"client getredir", ":0"},
		{"client caching no", "-ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."},
		{"client caching yes", "+OK"}, {"client trackinginfo", "*6 $5 flags *3 $2 on $5 optin $11 caching-yes $8 redirect :0 $8 prefixes *0"},
		{"get x", "$-1"}, {"client trackinginfo", "*6 $5 flags *2 $2 on $5 optin $8 redirect :0 $8 prefixes *0"},
		{"client caching foo", "-ERR syntax error"}, {"client tracking on optout", "-ERR You can't switch OPTIN/OPTOUT mode" + mode},
		{"client tracking off", "+OK"}, {"client tracking off", "+OK"}, {"client tracking on optout noloop", "+OK"},
		{"client caching no", "+OK"}, {"client trackinginfo", "*6 $5 flags *4 $2 on $6 optout $10 caching-no $6 noloop $8 redirect :0 $8 prefixes *0"},
		{"client caching yes", "-ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."},
		{"client tracking off", "+OK"}, {"client tracking on bcast optin", "-ERR OPTIN and OPTOUT are not compatible with BCAST"},
		{"client tracking on bcast prefix a prefix ab", "-ERR Prefix 'a' overlaps with another provided prefix 'ab'. Prefixes for a single client must not overlap."},
		{"client tracking on bcast prefix b prefix a", "+OK"},
		{"client tracking on bcast prefix bb", "-ERR Prefix 'bb' overlaps with an existing prefix 'b'. Prefixes for a single client must not overlap."},
		{"client trackinginfo", "*6 $5 flags *2 $2 on $5 bcast $8 redirect :0 $8 prefixes *2 $1 a $1 b"},
		{"client tracking off foo", "-ERR syntax error"},
	})
	if info := c.bulk("client info"); !strings.Contains(info, " flags=tB ") || !strings.Contains(info, " redir=0 ") {
		t.Error(info)
	}
	if info := c.bulk("info clients"); !strings.Contains(info, "tracking_clients:1\r\n") {
		t.Error(info)
	}
	c.script([]exchange{{"reset", "+RESET"}, {"client trackinginfo", off}})
	if info := c.bulk("info clients"); !strings.Contains(info, "tracking_clients:0\r\n") {
		t.Error(info)
	}
}

func TestTheOldestTrackedKeysMakeRoom(t *testing.T) {
	n := startNode(t, Options{MaxTrackedKeys: 3})
	a, b := n.tracker(""), n.tracker("")
	a.script([]exchange{{"get 1", "_"}, {"get 2", "_"}})
	b.script([]exchange{{"get 3", "_"}, {"get 4", "_"}})
	a.reads(invalidated("1"))
	b.do("mget 5 6", "*2 _ _ "+invalidated("3"))
	a.reads(invalidated("2"))
	n.dial().do("mset 1 x 2 x 4 x", "+OK")
	b.reads(invalidated("4"))
	a.quiet()
	if got := n.srv.tracked.count(); got != 2 {
		t.Errorf("%d keys are tracked, want 2", got)
	}
	b.nc.Close()
	eventually(t, "the keys of a closed connection are forgotten", func() bool { return n.srv.tracked.count() == 0 })
	a.do("client tracking off", "+OK")
	eventually(t, "no feeds are left", func() bool { return n.store.Hub().Stats().Feeds == 2 })
}

// A cache that follows the messages never keeps an old value, however reads, writes and messages race.
func TestACacheThatFollowsInvalidationsIsRight(t *testing.T) {
	n := startNode(t, Options{})
	const keys, rounds = 4, 400
	var writers sync.WaitGroup
	for w := range 2 {
		c := n.dial()
		writers.Go(func() {
			for i := range rounds {
				c.do(fmt.Sprintf("set k%d %03d", (i+w)%keys, i), "+OK")
			}
		})
	}
	var readers sync.WaitGroup
	for _, options := range []string{"", "noloop", "bcast prefix k"} {
		c := n.tracker(options)
		readers.Go(func() { followCache(t, n, c, keys, &writers) })
	}
	readers.Wait()
}

// followCache reads keys that it has no copy of until the writers have ended, and compares in the end.
func followCache(t *testing.T, n *node, c *client, keys int, writers *sync.WaitGroup) {
	cache := map[string]string{}
	ended := make(chan struct{})
	go func() { writers.Wait(); close(ended) }()
	reply := func(first string) string {
		if first == "_" {
			return ""
		}
		return c.line()
	}
	ask := func(request string) string {
		c.send(request + "\r\n")
		for {
			first := c.line()
			if first[0] != '>' {
				return first
			}
			// >2, then $10 invalidate, *n and keys
			c.line()
			c.line()
			count := mustInt(t, c.line()[1:])
			for range count {
				c.line()
				delete(cache, c.line())
			}
		}
	}
	for done := false; ; {
		for i := range keys {
			key := "k" + strconv.Itoa(i)
			if _, ok := cache[key]; !ok {
				value := reply(ask("get " + key))
				cache[key] = value
			}
		}
		if done {
			break
		}
		ask("ping")
		select {
		case <-ended:
			done = true
			// What was written last is told: a change of a key that is tracked now comes after it.
			ask("echo x")
			c.line()
			eventually(t, "the cache is as the store", func() bool {
				ask("ping")
				for key, value := range cache {
					if n.dial().bulk("get "+key) != value {
						return false
					}
				}
				return true
			})
		default:
		}
	}
}
