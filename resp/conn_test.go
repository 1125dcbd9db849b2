package resp

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

func TestAPipelineIsAnsweredInOrder(t *testing.T) {
	c := startNode(t, Options{}).dial()
	c.send("set a 1\r\nget a\r\nincr a\r\nget a\r\nlpush a\r\nincr a\r\nfoo\r\nmget a a\r\nset b x\r\nincr b\r\nping\r\n")
	c.reads("+OK $1 1 :2 $1 2")
	c.reads("-ERR wrong number of arguments for 'lpush' command")
	c.reads(":3")
	c.reads("-ERR unknown command 'foo', with args beginning with: ")
	c.reads("*2 $1 3 $1 3 +OK")
	c.reads("-" + errNotInteger)
	c.reads("+PONG")
}

func TestPipelinedWritesShareALogEntry(t *testing.T) {
	n := startNode(t, Options{})
	c := n.dial()
	c.do("ping", "+PONG")
	before := n.store.Status().AppliedIndex
	const count = 16
	var requests strings.Builder
	for i := range count {
		fmt.Fprintf(&requests, "set k%d v\r\n", i)
	}
	c.send(requests.String())
	c.reads(strings.TrimSpace(strings.Repeat("+OK ", count)))
	if entries := n.store.Status().AppliedIndex - before; entries > 4 {
		t.Errorf("%d log entries for %d pipelined writes", entries, count)
	}
}

func TestAVeryLongPipelineIsServed(t *testing.T) {
	c := startNode(t, Options{}).dial()
	const count = 20000
	go c.nc.Write([]byte(strings.Repeat("incr n\r\nget nokey\r\n", count)))
	for i := range count {
		c.reads(fmt.Sprintf(":%d $-1", i+1))
	}
}

func TestAProtocolErrorEndsThatConnectionOnly(t *testing.T) {
	n := startNode(t, Options{})
	other := n.dial()
	other.do("ping", "+PONG")
	for stream, text := range map[string]string{
		"*1\r\n:1\r\n":             "expected '$', got ':'",
		"*1\r\n$2000000\r\n":       "invalid bulk length",
		"*x\r\n":                   "invalid multibulk length",
		"*2000000\r\n":             "invalid multibulk length",
		strings.Repeat("x", 70000): "too big inline request",
		"get \"a\r\n":              "unbalanced quotes in request",
	} {
		c := n.dial()
		c.send("set a 1\r\n" + stream)
		c.reads("+OK")
		c.reads("-ERR Protocol error: " + text)
		c.readsEnd()
	}
	other.do("ping", "+PONG")
}

func TestTooLargeARequestIsAnErrorThatNamesTheLimit(t *testing.T) {
	c := startNode(t, Options{}).dial()
	value := strings.Repeat("x", 1<<20)
	c.send("*9\r\n$4\r\nmset\r\n" + strings.Repeat("$1\r\na\r\n$1048576\r\n"+value+"\r\n", 4))
	if got := c.line(); !strings.HasPrefix(got, "-ERR request exceeds the maximum allowed size") {
		t.Errorf("got %q", got)
	}
	c.do("ping", "+PONG")
}

func TestTheLargestValueCanBeStored(t *testing.T) {
	c := startNode(t, Options{}).dial()
	value := strings.Repeat("x", 1<<20+1<<19)
	c.send("*3\r\n$3\r\nset\r\n$1\r\na\r\n$1572864\r\n" + value + "\r\n")
	c.reads("+OK")
	c.do("get a", "$1572864 "+value)
}

func TestNamesAreLimited(t *testing.T) {
	c := startNode(t, Options{MaxNames: 2}).dial()
	c.script([]exchange{
		{"watch a b", "+OK"}, {"watch c", "-ERR too many watched keys"}, {"subscribe a b c", "-ERR too many subscriptions"},
		{"ping", "+PONG"},
	})
}

func TestReplyModes(t *testing.T) {
	c := startNode(t, Options{}).dial()
	c.send("client reply skip\r\nset a 1\r\nget a\r\n")
	c.reads("$1 1")
	c.send("client reply off\r\nset a 2\r\nget a\r\nping\r\nfoo\r\nclient reply on\r\nget a\r\n")
	c.reads("+OK $1 2")
}

func TestIntroductions(t *testing.T) {
	n := startNode(t, Options{})
	c := n.dial()
	c.script([]exchange{
		{"auth foo", "-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"},
		{"auth default foo", "+OK"}, {"auth bob foo", "-WRONGPASS invalid username-password pair or user is disabled."},
		{"hello abc", "-ERR Protocol version is not an integer or out of range"}, {"hello 4", "-NOPROTO unsupported protocol version"},
		{"hello 3 auth bob x", "-WRONGPASS invalid username-password pair or user is disabled."},
		{"hello 3 foo", "-ERR Syntax error in HELLO option 'foo'"},
		{"get a", "$-1"}, // none of these has changed the version
		{"hello 2 setname me", "*14 $6 server $5 redis $7 version $5 7.4.0 $5 proto :2 $2 id :1 $4 mode $10 standalone $4 role " +
			"$6 master $7 modules *0"},
		{"client getname", "$2 me"}, {"client setinfo lib-name go", "+OK"}, {"client setname \"a b\"", "-" + errBadName},
		{"client no-evict on", "+OK"}, {"client no-touch maybe", "-ERR syntax error"}, {"readonly", "+OK"},
	})
	if line := c.bulk("client list"); !strings.Contains(line, " name=me ") || !strings.Contains(line, " lib-name=go ") ||
		!strings.Contains(line, " cmd=client|list ") {
		t.Errorf("CLIENT LIST: %s", line)
	}
	c.script([]exchange{{"reset", "+RESET"}, {"client getname", "$-1"}})
	other := n.dial()
	other.do("ping", "+PONG")
	c.do("client kill "+other.nc.LocalAddr().String(), "+OK")
	other.readsEnd()
	c.do("client kill 1.2.3.4:5", "-ERR No such client")
	c.do("client kill id 1 skipme no", ":1")
	c.readsEnd()
}

func TestServerCommands(t *testing.T) {
	c := startNode(t, Options{Version: "1.2.3"}).dial()
	c.script([]exchange{
		{"config get databas*", "*2 $9 databases $2 16"}, {"config get nothing", "*0"},
		{"config set databases 3", "-ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config"},
		{"wait 0 0", ":0"}, {"wait 0 -1", "-ERR timeout is negative"}, {"echo hi", "$2 hi"},
		{"command getkeys mset a b c d", "*2 $1 a $1 c"}, {"command getkeys lmpop 2 a b left", "*2 $1 a $1 b"},
		{"command getkeys ping", "-ERR The command has no key arguments"}, {"command docs nothing", "*0"},
		{"command count", fmt.Sprintf(":%d", len(commands))},
		{"command info get nothing", "*2 *10 $3 get :2 *2 +readonly +fast :1 :1 :1 *3 +@read +@string +@fast *0 *1 *6 $5 flags *2 " +
			"+RO +access $12 begin_search *4 $4 type $5 index $4 spec *2 $5 index :1 $9 find_keys *4 $4 type $5 range $4 spec " +
			"*6 $7 lastkey :0 $7 keystep :1 $5 limit :0 *0 $-1"},
	})
	info := c.bulk("info")
	for _, want := range []string{"redis_version:7.4.0\r\n", "triglot_version:1.2.3\r\n", "# Keyspace\r\n", "role:master\r\n"} {
		if !strings.Contains(info, want) {
			t.Errorf("INFO lacks %q", want)
		}
	}
	if info := c.bulk("info replication"); strings.Contains(info, "redis_version") {
		t.Error("INFO replication tells more")
	}
}

func TestShutdownLetsConnectionsFinish(t *testing.T) {
	n := startNode(t, Options{})
	idle, blocked, subscriber := n.dial(), n.dial(), n.dial()
	idle.do("set a 1", "+OK")
	blocked.send("blpop l 0\r\n")
	n.blockedAs(1)
	subscriber.do("subscribe c", "*3 $9 subscribe $1 c :1")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.srv.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*client{idle, blocked, subscriber} {
		c.readsEnd()
	}
	if nc, err := net.DialTimeout("tcp", n.addr, time.Second); err == nil {
		nc.Close()
		t.Error("still listening")
	}
}

func TestShutdownCutsAClientThatDoesNotRead(t *testing.T) {
	n := startNode(t, Options{})
	c := n.dial()
	c.send("set a " + strings.Repeat("x", 60000) + "\r\n")
	c.reads("+OK")
	go c.nc.Write([]byte(strings.Repeat("get a\r\n", 10000)))
	eventually(t, "replies", func() bool { return n.srv.stats.commands.Load() > 50 })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := n.srv.Shutdown(ctx); err == nil {
		t.Error("Shutdown says that everything ended by itself")
	}
}
