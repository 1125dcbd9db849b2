package resp

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// listener gathers what a subscriber is told.
type listener struct {
	sub, pub *client
}

// listen subscribes to the events of every database, and turns them on.
func (n *node) listen(classes string) listener {
	l := listener{n.dial(), n.dial()}
	l.pub.do("config set notify-keyspace-events "+classes, "+OK")
	l.sub.do("psubscribe __key*", "*3 $10 psubscribe $6 __key* :1")
	return l
}

// message reads one message: its channel and payload.
func (l listener) message() (channel, payload string) {
	l.sub.t.Helper()
	if head := l.sub.line(); head != "*4" {
		l.sub.t.Fatalf("not a message: %q", head)
	}
	var words [4]string // pmessage, the pattern, and these two
	for i := range words {
		l.sub.line()
		words[i] = l.sub.line()
	}
	return words[2], words[3]
}

// told gives the events until now as "verb key", with "@db" behind it unless that is 0.
func (l listener) told() string {
	l.sub.t.Helper()
	l.pub.run("publish __key.end x")
	var events []string
	for {
		channel, key := l.message()
		if channel == "__key.end" {
			return strings.Join(events, "; ")
		}
		at, verb, _ := strings.Cut(strings.TrimPrefix(channel, "__keyevent@"), "__:")
		if at != "0" {
			key += "@" + at
		}
		events = append(events, verb+" "+key)
	}
}

// The sequences are those of redis-server 7.0.15, taken by running the same requests against it in this order. The few
// that differ are in TestWhatIsToldOtherwiseThanInRedis.
func TestEveryWriteIsToldInRedisWords(t *testing.T) {
	n := startNode(t, Options{})
	l := n.listen("EAn")
	for _, e := range []struct{ request, told string }{
		{"set s v", "new s; set s"}, {"set s w", "set s"}, {"set s v ex 100", "set s; expire s"}, {"set s v keepttl", "set s"},
		{"set s v nx", ""}, {"set s v get", "set s"}, {"setex s 100 v", "set s; expire s"},
		{"psetex s 200000 v", "set s; expire s"}, {"setnx s v", ""}, {"setnx n1 v", "new n1; set n1"},
		{"getset s v", "set s"}, {"getset n2 v", "new n2; set n2"}, {"mset s 1 n3 2", "set s; new n3; set n3"},
		{"msetnx n4 1 n5 2", "new n4; set n4; new n5; set n5"}, {"msetnx n4 1 n6 2", ""},
		{"append s x", "append s"}, {"append n7 x", "new n7; append n7"}, {"setrange s 1 y", "setrange s"},
		{"setrange n8 1 y", "new n8; setrange n8"}, {`setrange s 1 ""`, ""}, {`setrange n9 0 ""`, ""},
		{"incr n10", "new n10; incrby n10"}, {"decr n10", "incrby n10"}, {"incrby n10 5", "incrby n10"},
		{"decrby n10 2", "incrby n10"}, {"incrbyfloat n10 1.5", "incrbyfloat n10"},
		{"incrbyfloat n11 1.5", "new n11; incrbyfloat n11"}, {"getdel n11", "del n11"}, {"getdel n11", ""},
		{"getex s", ""}, {"getex s ex 100", "expire s"}, {"getex s persist", "persist s"}, {"getex s persist", ""},
		{"getex s exat 1", "del s"},

		{"expire n10 100", "expire n10"}, {"expire n10 200 gt", "expire n10"}, {"expire n10 50 gt", ""},
		{"pexpire n10 100000", "expire n10"}, {"expireat n10 33333333333", "expire n10"},
		{"pexpireat n10 33333333333000", "expire n10"}, {"persist n10", "persist n10"}, {"persist n10", ""},
		{"expire n10 -1", "del n10"}, {"del n1 n2 nokey n1", "del n1; del n2"}, {"unlink n3", "del n3"},

		{"hset h f v", "new h; hset h"}, {"hset h f v g w", "hset h"}, {"hmset h2 f v", "new h2; hset h2"},
		{"hsetnx h f v", ""}, {"hsetnx h n v", "hset h"}, {"hincrby h i 1", "hincrby h"},
		{"hincrby h3 i 1", "new h3; hincrby h3"}, {"hincrbyfloat h i 1.5", "hincrbyfloat h"},
		{"hincrbyfloat h4 i 1.5", "new h4; hincrbyfloat h4"}, {"hdel h nof", ""}, {"hdel h f g", "hdel h"},
		{"hdel h n i", "hdel h; del h"},

		{"lpush l a b", "new l; lpush l"}, {"rpush l c", "rpush l"}, {"rpush l2 c", "new l2; rpush l2"},
		{"lpushx l x", "lpush l"}, {"rpushx l x", "rpush l"}, {"lpushx nokey x", ""}, {"lset l 0 z", "lset l"},
		{"linsert l before z y", "linsert l"}, {"linsert l before nope y", ""}, {"lrem l 1 y", "lrem l"},
		{"lrem l 1 nope", ""}, {"ltrim l 0 2", "ltrim l"}, {"lpop l", "lpop l"}, {"lpop l 0", ""}, {"rpop l", "rpop l"},
		{"lpop l 5", "lpop l; del l"}, {"rpush l a a b", "new l; rpush l"}, {"rpop l 2", "rpop l"},
		{"rpop l 1", "rpop l; del l"}, {"rpush l a a", "new l; rpush l"}, {"lrem l 0 a", "lrem l; del l"},
		{"rpush l a b", "new l; rpush l"}, {"ltrim l 5 6", "ltrim l; del l"}, {"rpush l a b c", "new l; rpush l"},
		{"lmove l m left right", "new m; rpush m; lpop l"}, {"lmove l m right left", "lpush m; rpop l"},
		{"rpoplpush l m", "lpush m; rpop l; del l"}, {"lpop m", "lpop m"}, {"lmpop 2 nokey m left", "lpop m"},
		{"lmpop 1 m right count 9", "rpop m; del m"}, {"rpush l a b c", "new l; rpush l"}, {"blpop l 1", "lpop l"},
		{"brpop l 1", "rpop l"}, {"blmove l m left right 1", "new m; rpush m; lpop l; del l"},
		{"blmpop 1 1 m left", "lpop m; del m"}, {"rpush l a b", "new l; rpush l"},
		{"brpoplpush l m 1", "new m; lpush m; rpop l"}, {"blpop l m 1", "lpop l; del l"}, {"blpop m 1", "lpop m; del m"},

		{"set a 1", "new a; set a"}, {"set b 2", "new b; set b"}, {"rename a c", "new c; rename_from a; rename_to c"},
		{"rename b c", "new c; rename_from b; rename_to c"}, {"rename c c", ""},
		{"renamenx c d", "new d; rename_from c; rename_to d"}, {"set c 3", "new c; set c"}, {"renamenx c d", ""},
		{"rpush lst a", "new lst; rpush lst"}, {"rename lst d", "new d; rename_from lst; rename_to d"},
		{"del d", "del d"}, {"set d v", "new d; set d"}, {"rename d e", "new e; rename_from d; rename_to e"},
		{"copy e f", "new f; copy_to f"}, {"copy e f", ""}, {"copy e f replace", "new f; copy_to f"},
		{"copy e e2 db 3", "new e2@3; copy_to e2@3"}, {"move e 3", "new e@3; move_from e; move_to e@3"}, {"select 3", ""},
		{"move e 0", "new e; move_from e@3; move_to e"}, {"flushdb", ""}, {"select 0", ""},
		{"expire e 100", "expire e"}, {"rename e e3", "new e3; rename_from e; rename_to e3"},
		{"copy e3 e4", "new e4; copy_to e4"},

		{"linsert nokey before a b", ""}, {"lset nokey 0 a", ""}, {"persist nokey", ""}, {"rename nokey x", ""},
		{"expire nokey 10", ""}, {"hdel nokey f", ""}, {"copy nokey x", ""},
	} {
		l.pub.run(e.request)
		if told := l.told(); told != e.told {
			t.Errorf("%s: told %q, want %q", e.request, told, e.told)
		}
	}
	// As a transaction: changes of one key at one revision.
	l.pub.run("multi\r\nset tx 1\r\nappend tx 2\r\nexpire tx 100\r\nrpush txl a\r\nrpush txl b\r\nlpop txl 2\r\nrpush txl c\r\nexec")
	want := "new tx; set tx; append tx; expire tx; new txl; rpush txl; rpush txl; lpop txl; del txl; new txl; rpush txl"
	if told := l.told(); told != want {
		t.Errorf("a transaction: told %q, want %q", told, want)
	}
}

func TestWhatIsToldOtherwiseThanInRedis(t *testing.T) {
	n := startNode(t, Options{})
	l := n.listen("EAn")
	for _, e := range []struct{ request, told, redis string }{
		{"rpush l a b", "new l; rpush l", ""},
		{"lmove l l left right", "rpush l", "rpush l; lpop l"},
		{"set l v", "new l; set l", "set l"},
		{"set l v pxat 1", "del l", "set l; expire l; and expired l when next looked at"},
		{"set l v", "new l; set l", ""},
		{"flushdb", "del l", "nothing"},
	} {
		l.pub.run(e.request)
		if told := l.told(); told != e.told {
			t.Errorf("%s: told %q, want %q", e.request, told, e.told)
		}
	}
}

func (n *node) op(op *corepb.Op) core.Result {
	n.t.Helper()
	result, err := n.store.Do(context.Background(), &corepb.Txn{Then: []*corepb.Op{op}, AbortOnError: true})
	if err == nil {
		err = result.Err
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return result.Results[0]
}

func grantOp(id int64) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_LeaseGrant{LeaseGrant: &corepb.LeaseGrant{Id: id, TtlMillis: 60_000}}}
}

func revokeOp(id int64) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_LeaseRevoke{LeaseRevoke: &corepb.LeaseRevoke{Id: id}}}
}

func TestChangesThroughOtherProtocolsAreTold(t *testing.T) {
	n := startNode(t, Options{})
	l := n.listen("EAn")
	told := func(what, want string) {
		t.Helper()
		if got := l.told(); got != want {
			t.Errorf("%s: told %q, want %q", what, got, want)
		}
	}
	n.op(putOp(&corepb.Put{Key: []byte("k"), Value: []byte("v")}))
	told("an etcd put", "new k; set k")
	n.op(deleteOp(&corepb.Delete{Key: []byte("k"), End: []byte("l")}))
	told("an etcd delete", "del k")
	create := &corepb.NodeCreate{Path: "/n", Data: []byte("v")}
	n.op(&corepb.Op{Op: &corepb.Op_NodeCreate{NodeCreate: create}})
	told("create", "new /n; set /n")
	n.op(&corepb.Op{Op: &corepb.Op_NodeSetData{NodeSetData: &corepb.NodeSetData{Path: "/n", Data: []byte("w"), Version: -1}}})
	told("setData", "set /n")
	n.op(&corepb.Op{Op: &corepb.Op_NodeDelete{NodeDelete: &corepb.NodeDelete{Path: "/n", Version: -1}}})
	told("delete", "del /n")
	n.op(grantOp(7))
	n.op(putOp(&corepb.Put{Key: []byte("k"), Value: []byte("v"), Lease: 7}))
	n.op(revokeOp(7))
	told("a lease's end", "new k; set k; expired k")
	l.pub.do("set t v px 20", "+OK")
	if channel, key := l.message(); channel != "__keyevent@0__:new" || key != "t" {
		t.Errorf("%s %s", channel, key)
	}
	l.message()
	l.message()
	if channel, key := l.message(); channel != "__keyevent@0__:expired" || key != "t" {
		t.Errorf("%s %s", channel, key)
	}
}

func TestChannelsOfKeysAndEvents(t *testing.T) {
	l := startNode(t, Options{NotifyKeyspaceEvents: "AKE"}).listen("KEA")
	l.pub.script([]exchange{{"select 5", "+OK"}, {"set k v", "+OK"}})
	l.sub.reads("*4 $8 pmessage $6 __key* $16 __keyspace@5__:k $3 set *4 $8 pmessage $6 __key* $18 __keyevent@5__:set $1 k")
	l.pub.script([]exchange{{"config set notify-keyspace-events K$", "+OK"}, {"lpush l a", ":1"}, {"set k v", "+OK"}})
	l.sub.reads("*4 $8 pmessage $6 __key* $16 __keyspace@5__:k $3 set")
	l.pub.script([]exchange{{"config set notify-keyspace-events KEm", "+OK"}, {"set k v", "+OK"}, {"get k", "$1 v"}, {"get nokey", "$-1"}})
	l.sub.reads("*4 $8 pmessage $6 __key* $20 __keyspace@5__:nokey $7 keymiss *4 $8 pmessage $6 __key* $22 __keyevent@5__:keymiss $5 nokey")
}

// Who subscribes after a change is not told of it, and who turns notifications on neither.
func TestNotificationsBeginWithTheSubscription(t *testing.T) {
	n := startNode(t, Options{})
	c := n.dial()
	for i := range 200 {
		k := "k" + strconv.Itoa(i)
		c.script([]exchange{{"set " + k + " v", "+OK"}, {"config set notify-keyspace-events Eg$", "+OK"}})
		sub := n.dial()
		c.do("set "+k+" w", "+OK")
		sub.do("subscribe __keyevent@0__:set __keyevent@0__:del", "*3 $9 subscribe $18 __keyevent@0__:set :1 *3 $9 subscribe $18 __keyevent@0__:del :2")
		c.do("del "+k, ":1")
		sub.reads("*3 $7 message $18 __keyevent@0__:del $" + strconv.Itoa(len(k)) + " " + k)
		c.do("config set notify-keyspace-events ''", "+OK")
		sub.nc.Close()
	}
}

func TestNotificationsCostNothingWhenOff(t *testing.T) {
	n := startNode(t, Options{})
	watches := func() int { return n.store.Hub().Stats().Watches }
	before := watches()
	c := n.dial()
	for _, letters := range []string{"K", "A", "Km", "''"} {
		c.do("config set notify-keyspace-events "+letters, "+OK")
		if got := watches(); got != before {
			t.Errorf("%s: %d watches, want %d", letters, got, before)
		}
	}
	c.do("config set notify-keyspace-events Kx", "+OK")
	if got := watches(); got != before+databases {
		t.Errorf("%d watches, want %d", got, before+databases)
	}
	c.do("config set notify-keyspace-events ''", "+OK")
	if got := watches(); got != before {
		t.Errorf("%d watches are left, want %d", got, before)
	}
}

func TestEventClassesAreAnsweredAsRedisWritesThem(t *testing.T) {
	c := startNode(t, Options{}).dial()
	get := "config get notify-keyspace-events"
	for given, shown := range map[string]string{
		"A": "A", "KEA": "AKE", "K": "K", "mn": "nm", "Anm": "Am", "KEAnm": "AKEm", "g$lshzxetdKE": "AKE", "g$lshzxetdn": "A",
		"nmEK": "nKEm", "Kg$l": "g$lK", "hzsl": "lshz", "xe": "xe", "KK": "K",
	} {
		c.script([]exchange{
			{"config set notify-keyspace-events " + given, "+OK"},
			{get, "*2 $22 notify-keyspace-events $" + strconv.Itoa(len(shown)) + " " + shown},
		})
	}
	refused := "-ERR CONFIG SET failed (possibly related to argument 'notify-keyspace-events') - "
	c.script([]exchange{
		{"config set notify-keyspace-events xe", "+OK"},
		{"config set notify-keyspace-events KQ", refused + "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."},
		{"config set notify-keyspace-events K notify-keyspace-events E", refused + "duplicate parameter"},
		{"config set notify-keyspace-events K databases 3", "-ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config"},
		{"config set notify-keyspace-events K nosuch 3", "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'"},
		{get, "*2 $22 notify-keyspace-events $2 xe"},
		{"config set Notify-Keyspace-Events ''", "+OK"}, {get, "*2 $22 notify-keyspace-events $0 "},
	})
}

// A change of one space can come on its watch before an earlier one of another space: they are told in order.
func TestNotificationsAreInTheOrderOfTheChanges(t *testing.T) {
	n := startNode(t, Options{})
	l := n.listen("E$")
	const rounds = 300
	var requests, want strings.Builder
	for i := range rounds {
		db := strconv.Itoa(i % databases)
		requests.WriteString("select " + db + "\r\nset k v\r\n")
		if i > 0 {
			want.WriteString("; ")
		}
		want.WriteString("set k")
		if db != "0" {
			want.WriteString("@" + db)
		}
	}
	l.pub.run(strings.TrimSuffix(requests.String(), "\r\n"))
	if told := l.told(); told != want.String() {
		t.Errorf("told %q", told)
	}
}

// Events that have left the ring before they were told are lost, with one warning; what comes later is told.
func TestLostNotificationsAreLoggedOnce(t *testing.T) {
	store, err := core.Open(core.Config{Dir: t.TempDir(), Name: "test", RingEvents: 16})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var log strings.Builder
	srv := New(store, Options{NotifyKeyspaceEvents: "EA", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	n := &node{t: t, store: store}
	srv.pubsub.mu.Lock() // as if it were busy
	for range 100 {
		n.op(&corepb.Op{Op: &corepb.Op_ListPush{ListPush: &corepb.ListPush{Key: []byte("l"), Values: [][]byte{[]byte("v")}}}})
	}
	told := 0
	srv.pubsub.notify.send = func(_, _ []byte) { told++ }
	srv.pubsub.deliver()
	srv.pubsub.mu.Unlock()
	if err := srv.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(log.String(), "notifications were lost"); got != 1 || told == 0 || told > 16 {
		t.Errorf("%d warnings, %d told", got, told)
	}
}
