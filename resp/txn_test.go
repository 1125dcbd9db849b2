package resp

import "testing"

func TestExecRunsTheQueueAtOneMoment(t *testing.T) {
	c := startNode(t, Options{}).dial()
	c.script([]exchange{
		{"multi", "+OK"}, {"set a 1", "+QUEUED"}, {"incr a", "+QUEUED"}, {"lpush a x", "+QUEUED"}, {"select 3", "+QUEUED"},
		{"set a inthree", "+QUEUED"}, {"select 99", "+QUEUED"}, {"get a", "+QUEUED"}, {"ping", "+QUEUED"}, {"dbsize", "+QUEUED"},
		{"exec", "*9 +OK :2 -" + dense(errWrongType) + " +OK +OK -" + dense(errDBRange) + " $7 inthree +PONG :1"},
		{"get a", "$7 inthree"}, {"select 0", "+OK"}, {"get a", "$1 2"},
		{"multi", "+OK"}, {"exec", "*0"}, {"exec", "-ERR EXEC without MULTI"}, {"discard", "-ERR DISCARD without MULTI"},
		{"multi", "+OK"}, {"multi", "-ERR MULTI calls can not be nested"}, {"watch a", "-ERR WATCH inside MULTI is not allowed"},
		{"set b 1", "+QUEUED"}, {"discard", "+OK"}, {"exists b", ":0"},
	})
}

// dense stands for spaces that are no line ends in the short form of a reply.
func dense(text string) string {
	b := []byte(text)
	for i, c := range b {
		if c == ' ' {
			b[i] = '\x1f'
		}
	}
	return string(b)
}

func TestARefusedRequestAbortsTheTransaction(t *testing.T) {
	c := startNode(t, Options{}).dial()
	for _, request := range []string{"foo", "get", "client foo"} {
		c.do("multi", "+OK")
		c.do("set a 1", "+QUEUED")
		c.send(request + "\r\n")
		c.line()
		c.do("exec", "-EXECABORT Transaction discarded because of previous errors.")
		c.do("exists a", ":0")
	}
}

func TestGroupSeesItsOwnWrites(t *testing.T) {
	startNode(t, Options{}).dial().script([]exchange{
		{"multi", "+OK"}, {"set a 1", "+QUEUED"}, {"msetnx a 2 b 3", "+QUEUED"}, {"getex a ex 100", "+QUEUED"}, {"ttl a", "+QUEUED"},
		{"rpush l x", "+QUEUED"}, {"blpop l 0", "+QUEUED"}, {"blpop l 0", "+QUEUED"}, {"keys *", "+QUEUED"},
		{"exec", "*8 +OK :0 $1 1 :100 :1 *2 $1 l $1 x *-1 *1 $1 a"}, {"get b", "$-1"},
	})
}

func TestWatchNoticesWhateverTouchesAKey(t *testing.T) {
	n := startNode(t, Options{})
	c, other := n.dial(), n.dial()
	for _, touch := range []string{
		"set s changed", "set s v", "append s x", "expire s 100", "del s", "rename other s", "flushall",
		"hset h f w", "hdel h f", "rpush l x", "lset l 0 x", "lpop l", "set nokey 1",
	} {
		c.script([]exchange{
			{"flushall", "+OK"}, {"mset s v other w", "+OK"}, {"hset h f v", ":1"}, {"rpush l a b", ":2"},
			{"watch s h l nokey", "+OK"},
		})
		other.run(touch)
		c.do("multi", "+OK")
		c.do("set done 1", "+QUEUED")
		c.send("exec\r\n")
		if got := c.line(); got != "*-1" {
			t.Errorf("after %q: %s", touch, got)
		}
		c.do("exists done", ":0")
	}
}

func TestWatchLetsTheRestBe(t *testing.T) {
	n := startNode(t, Options{})
	c, other := n.dial(), n.dial()
	c.script([]exchange{{"set s v", "+OK"}, {"watch s nokey", "+OK"}})
	other.script([]exchange{{"set unrelated 1", "+OK"}, {"get s", "$1 v"}, {"select 1", "+OK"}, {"set s elsewhere", "+OK"}})
	c.script([]exchange{{"multi", "+OK"}, {"set s w", "+QUEUED"}, {"exec", "*1 +OK"}})
	c.script([]exchange{{"watch s", "+OK"}, {"set s x", "+OK"}, {"unwatch", "+OK"}, {"multi", "+OK"}, {"exec", "*0"}})
	c.script([]exchange{{"watch s", "+OK"}, {"set s x", "+OK"}, {"multi", "+OK"}, {"discard", "+OK"}, {"multi", "+OK"}, {"exec", "*0"}})
	c.script([]exchange{{"watch s", "+OK"}, {"set s x", "+OK"}, {"multi", "+OK"}, {"exec", "*-1"}})
}
