package resp

import "testing"

// The replies in this file are those of Redis 7, taken from redis-server by running the same requests against it.

func TestStrings(t *testing.T) {
	startNode(t, Options{}).dial().script([]exchange{
		{"set s v", "+OK"}, {"get s", "$1 v"}, {"get nokey", "$-1"},
		{"set s w nx", "$-1"}, {"set s w xx get", "$1 v"}, {"set new w nx get", "$-1"}, {"get new", "$1 w"},
		{"set s v nx xx", "-ERR syntax error"}, {"set s v ex 1 px 1", "-ERR syntax error"},
		{"set s v keepttl ex 1", "-ERR syntax error"}, {"set s v ex 10 ex 10", "+OK"},
		{"set s v ex 0", "-ERR invalid expire time in 'set' command"},
		{"set s v px 9223372036854775807", "-ERR invalid expire time in 'set' command"},
		{"set s v ex a", "-ERR value is not an integer or out of range"},
		{"set s v exat 1", "+OK"}, {"exists s", ":0"},
		{"setex s 0 v", "-ERR invalid expire time in 'setex' command"}, {"psetex s 100000 v", "+OK"}, {"ttl s", ":100"},
		{"set s w keepttl", "+OK"}, {"ttl s", ":100"}, {"set s w", "+OK"}, {"ttl s", ":-1"},
		{"getex s ex 100", "$1 w"}, {"ttl s", ":100"}, {"getex s persist", "$1 w"}, {"ttl s", ":-1"},
		{"getex s ex 0", "-ERR invalid expire time in 'getex' command"}, {"getex nokey ex 0", "$-1"},
		{"getset s x", "$1 w"}, {"getdel s", "$1 x"}, {"getdel s", "$-1"},
		{"mset a 1 b 2 a 3", "+OK"}, {"mget a b nokey", "*3 $1 3 $1 2 $-1"}, {"mset a", "-ERR wrong number of arguments for 'mset' command"},
		{"msetnx c 1 a 2", ":0"}, {"exists c", ":0"}, {"msetnx c 1 d 2", ":1"}, {"setnx c 2", ":0"},
		{"append ap foo", ":3"}, {"append ap bar", ":6"}, {"strlen ap", ":6"}, {"getrange ap 1 -2", "$4 ooba"},
		{"setrange ap 8 x", ":9"}, {"get ap", "$9 foobar\x00\x00x"}, {"setrange nokey 5 \"\"", ":0"},
		{"setrange ap -1 x", "-ERR offset is out of range"},
		{"setrange ap 536870912 x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"},
	})
}

func TestCounters(t *testing.T) {
	startNode(t, Options{}).dial().script([]exchange{
		{"incr n", ":1"}, {"decrby n 3", ":-2"}, {"incrby n abc", "-ERR value is not an integer or out of range"},
		{"set n 9223372036854775807", "+OK"}, {"incr n", "-ERR increment or decrement would overflow"},
		{"decrby n -9223372036854775808", "-ERR decrement would overflow"},
		{"set s abc", "+OK"}, {"incr s", "-ERR value is not an integer or out of range"},
		{"incrbyfloat s 1", "-ERR value is not a valid float"},
		{"set f 10.50", "+OK"}, {"incrbyfloat f 0.1", "$4 10.6"}, {"incrbyfloat f 2.0e2", "$21 210.60000000000000001"},
		{"incrbyfloat f inf", "-ERR increment would produce NaN or Infinity"},
		{"rpush l a", ":1"}, {"incrbyfloat l abc", "-" + errWrongType},
	})
}

func TestWrongKindIsRefusedInRedisWords(t *testing.T) {
	c := startNode(t, Options{}).dial()
	c.script([]exchange{{"set s v", "+OK"}, {"rpush l a", ":1"}, {"hset h f v", ":1"}})
	for _, request := range []string{
		"get l", "set l v get", "set l v nx get", "getset l v", "getdel l", "getex l", "getex l ex 5", "append l x",
		"strlen l", "incr l", "setrange l 0 x", "getrange l 0 1", "hset l f v", "hget s f", "hgetall l", "hdel s f", "hlen s",
		"hincrby s f 1", "hscan s 0", "hrandfield s", "lpush s x", "lpop h", "lrange s 0 1", "llen s", "lindex s 0",
		"lset h 0 x", "linsert s before a b", "lrem s 0 a", "ltrim s 0 1", "lpos s a", "lmove l h left left",
		"lmove h l left left", "lmpop 2 nokey h left", "blpop nokey h 1", "blmove s l left left 1",
	} {
		c.do(request, "-"+errWrongType)
	}
	c.script([]exchange{{"mget l s h", "*3 $-1 $1 v $-1"}, {"setnx l v", ":0"}, {"set l v", "+OK"}, {"get l", "$1 v"}})
}

func TestKeys(t *testing.T) {
	startNode(t, Options{}).dial().script([]exchange{
		{"mset a 1 b 2", "+OK"}, {"rpush l x", ":1"}, {"hset h f v", ":1"},
		{"exists a a b nokey", ":3"}, {"touch a nokey", ":1"}, {"type a", "+string"}, {"type l", "+list"}, {"type h", "+hash"},
		{"type nokey", "+none"}, {"dbsize", ":4"}, {"del a nokey a", ":1"}, {"unlink b", ":1"},
		{"rename nokey x", "-ERR no such key"}, {"rename l l", "+OK"}, {"rename l m", "+OK"}, {"lrange m 0 -1", "*1 $1 x"},
		{"renamenx m h", ":0"}, {"renamenx m m", ":0"}, {"renamenx m l", ":1"},
		{"copy h h", "-ERR source and destination objects are the same"}, {"copy h i", ":1"}, {"copy h i", ":0"},
		{"copy h i replace", ":1"}, {"copy nokey i", ":0"}, {"copy h j db 3", ":1"}, {"copy h j db 16", "-ERR DB index is out of range"},
		{"hset i f w", ":0"}, {"hget h f", "$1 v"}, // a copy is a hash of its own
		{"move i 0", "-ERR source and destination objects are the same"}, {"move i 3", ":1"}, {"move i 3", ":0"},
		{"select 3", "+OK"}, {"hgetall i", "*2 $1 f $1 w"}, {"hgetall j", "*2 $1 f $1 v"}, {"flushdb", "+OK"}, {"dbsize", ":0"},
		{"select 16", "-ERR DB index is out of range"}, {"select x", "-ERR value is not an integer or out of range"},
		{"select 0", "+OK"}, {"dbsize", ":2"}, {"flushall async", "+OK"}, {"dbsize", ":0"}, {"flushdb x", "-ERR syntax error"},
		{"randomkey", "$-1"}, {"set only 1", "+OK"}, {"randomkey", "$4 only"},
		{"object encoding only", "$3 int"}, {"object refcount only", ":1"}, {"object encoding nokey", "$-1"},
	})
}

func TestExpiry(t *testing.T) {
	startNode(t, Options{}).dial().script([]exchange{
		{"set s v", "+OK"}, {"ttl s", ":-1"}, {"ttl nokey", ":-2"}, {"expire s 100 xx", ":0"}, {"expire s 100 gt", ":0"},
		{"expire s 100 lt", ":1"}, {"ttl s", ":100"}, {"expire s 200 nx", ":0"}, {"expire s 200 lt", ":0"},
		{"expire s 200 gt", ":1"}, {"expire s 300 xx", ":1"}, {"ttl s", ":300"}, {"persist s", ":1"}, {"persist s", ":0"},
		{"pexpireat s 33333333333500", ":1"}, {"expiretime s", ":33333333334"}, {"pexpiretime s", ":33333333333500"},
		{"expire s 10 nx xx", "-ERR NX and XX, GT or LT options at the same time are not compatible"},
		{"expire s 10 gt lt", "-ERR GT and LT options at the same time are not compatible"},
		{"expire nokey 10 foo", "-ERR Unsupported option foo"}, {"expire nokey 10", ":0"},
		{"expire s 9223372036854775807", "-ERR invalid expire time in 'expire' command"},
		{"expire s -9223372036854775808", "-ERR invalid expire time in 'expire' command"},
		{"pexpire s -9223372036854775808", ":1"}, {"exists s", ":0"},
		{"rpush l a", ":1"}, {"expireat l 1", ":1"}, {"exists l", ":0"},
	})
}

func TestHashes(t *testing.T) {
	startNode(t, Options{}).dial().script([]exchange{
		{"hset h f v g 1", ":2"}, {"hset h f w", ":0"}, {"hset h a b c", "-ERR wrong number of arguments for 'hset' command"},
		{"hmset h f v", "+OK"}, {"hsetnx h f x", ":0"}, {"hsetnx h n x", ":1"}, {"hdel h n nof n", ":1"},
		{"hget h f", "$1 v"}, {"hget h nof", "$-1"}, {"hmget h f nof g", "*3 $1 v $-1 $1 1"}, {"hmget nokey a b", "*2 $-1 $-1"},
		{"hlen h", ":2"}, {"hexists h f", ":1"}, {"hexists nokey f", ":0"}, {"hstrlen h f", ":1"}, {"hgetall nokey", "*0"},
		{"hincrby h g 2", ":3"}, {"hincrby h f 2", "-ERR hash value is not an integer"},
		{"hincrbyfloat h g 1.5", "$3 4.5"}, {"hincrbyfloat h f 1", "-ERR hash value is not a float"},
		{"hincrbyfloat h g inf", "-ERR value is NaN or Infinity"},
		{"hset e \"\" \"\"", ":1"}, {"hget e \"\"", "$0 "}, {"hexists e \"\"", ":1"}, {"hgetall e", "*2 $0  $0 "},
		{"hrandfield e", "$0 "}, {"hrandfield e 5 withvalues", "*2 $0  $0 "}, {"hrandfield e -2", "*2 $0  $0 "},
		{"hrandfield nokey", "$-1"}, {"hrandfield nokey 2", "*0"}, {"hrandfield e 1 foo", "-ERR syntax error"},
		{"hscan e 0", "*2 $1 0 *2 $0  $0 "}, {"hscan e 0 novalues", "*2 $1 0 *1 $0 "}, {"hscan e 0 match x", "*2 $1 0 *0"},
		{"hscan nokey 0", "*2 $1 0 *0"}, {"hscan e x", "-ERR invalid cursor"}, {"hdel e \"\"", ":1"}, {"exists e", ":0"},
		{"hello 3", "%7 $6 server $5 redis $7 version $5 7.4.0 $5 proto :3 $2 id :1 $4 mode $10 standalone $4 role $6 master " +
			"$7 modules *0"},
		{"hdel h g", ":1"}, {"hgetall h", "%1 $1 f $1 v"}, {"hget h nof", "_"}, {"hrandfield h 1 withvalues", "*1 *2 $1 f $1 v"},
	})
}

func TestLists(t *testing.T) {
	startNode(t, Options{}).dial().script([]exchange{
		{"lpush l b a", ":2"}, {"rpush l c a d", ":5"}, {"lrange l 0 -1", "*5 $1 a $1 b $1 c $1 a $1 d"}, {"llen l", ":5"},
		{"lpushx nokey a", ":0"}, {"rpushx l e", ":6"}, {"rpop l", "$1 e"}, {"lindex l -1", "$1 d"}, {"lindex l 9", "$-1"},
		{"lset l 1 B", "+OK"}, {"lset l 9 x", "-ERR index out of range"}, {"lset nokey 0 x", "-ERR no such key"},
		{"linsert l before c x", ":6"}, {"linsert l after zz x", ":-1"}, {"linsert nokey after a x", ":0"}, {"lrem l 1 x", ":1"},
		{"lpos l a", ":0"}, {"lpos l a rank -1", ":3"}, {"lpos l a count 0", "*2 :0 :3"}, {"lpos l zz", "$-1"},
		{"lpos l zz count 1", "*0"}, {"lpos l a maxlen 2 count 0", "*1 :0"},
		{"lpos l a rank 0", "-ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use " +
			"negative to start from the end of the list"},
		{"ltrim l 1 -2", "+OK"}, {"lrange l 0 -1", "*3 $1 B $1 c $1 a"}, {"lrange l 5 2", "*0"},
		{"lpop l 0", "*0"}, {"lpop nokey 1", "*-1"}, {"lpop nokey", "$-1"}, {"lpop l -1", "-ERR value is out of range, must be positive"},
		{"lpop l 2", "*2 $1 B $1 c"}, {"rpoplpush l m", "$1 a"}, {"exists l", ":0"}, {"lmove m m left right", "$1 a"},
		{"lmove nokey m left right", "$-1"}, {"lmpop 2 nokey m left count 5", "*2 $1 m *1 $1 a"}, {"lmpop 1 nokey left", "*-1"},
		{"lmpop 0 m left", "-ERR numkeys should be greater than 0"}, {"lmpop 1 m left count 0", "-ERR count should be greater than 0"},
		{"rpush l a b c", ":3"}, {"blpop nokey l 1", "*2 $1 l $1 a"}, {"brpop l 1", "*2 $1 l $1 c"},
		{"brpoplpush l m 1", "$1 b"}, {"blmpop 1 1 m left", "*2 $1 m *1 $1 b"},
		{"blpop l 0.01", "*-1"}, {"blmove l m left left 0.01", "*-1"}, {"blmpop 0.01 1 l left", "*-1"},
		{"blpop l abc", "-ERR timeout is not a float or out of range"}, {"blpop l -1", "-ERR timeout is negative"},
		{"blpop l 1e300", "-ERR timeout is out of range"},
	})
}

func TestScan(t *testing.T) {
	c := startNode(t, Options{}).dial()
	c.script([]exchange{
		{"mset a1 1 a2 2 b1 3", "+OK"}, {"hset h f v", ":1"}, {"scan 0 match a* count 100", "*2 $1 0 *2 $2 a1 $2 a2"},
		{"scan 0 type hash", "*2 $1 0 *1 $1 h"}, {"scan 0 type nothing", "*2 $1 0 *0"}, {"keys b?", "*1 $2 b1"},
		{"scan x", "-ERR invalid cursor"}, {"scan 0 count 0", "-ERR syntax error"}, {"scan 0 match", "-ERR syntax error"},
		{"scan -1", "*2 $1 0 *0"},
	})
	for i := range 50 {
		c.do("set key"+string(rune('a'+i%26))+string(rune('a'+i/26))+" v", "+OK")
	}
	seen := map[string]bool{}
	for cursor := "0"; ; {
		c.send("scan " + cursor + " match key* count 7\r\n")
		c.reads("*2")
		c.line()
		cursor = c.line()
		n, _ := parseInt([]byte(c.line()[1:]))
		for range n {
			c.line()
			seen[c.line()] = true
		}
		if cursor == "0" {
			break
		}
	}
	if len(seen) != 50 {
		t.Fatalf("%d keys seen, want 50", len(seen))
	}
}

func TestErrorsAboutTheRequestItself(t *testing.T) {
	c := startNode(t, Options{}).dial()
	c.script([]exchange{
		{"foo bar baz", "-ERR unknown command 'foo', with args beginning with: 'bar' 'baz' "},
		{"get", "-ERR wrong number of arguments for 'get' command"},
		{"client", "-ERR wrong number of arguments for 'client' command"},
		{"client foo", "-ERR unknown subcommand 'foo'. Try CLIENT HELP."},
		{"client setname", "-ERR wrong number of arguments for 'client|setname' command"},
		{"GET a b", "-ERR wrong number of arguments for 'get' command"},
		{"GeT a", "$-1"},
	})
	c.send("*2\r\n$3\r\nfoo\r\n$4\r\n\r\n\r\n\r\n") // no new line gets into the reply
	c.reads("-ERR unknown command 'foo', with args beginning with: '    ' ")
}
