package resp

import (
	"strings"
	"testing"
)

func TestMessagesReachSubscribersOnce(t *testing.T) {
	n := startNode(t, Options{})
	sub, pub := n.dial(), n.dial()
	pub.do("publish news hi", ":0")
	sub.send("subscribe news other news\r\n")
	sub.reads("*3 $9 subscribe $4 news :1 *3 $9 subscribe $5 other :2 *3 $9 subscribe $4 news :2")
	sub.do("psubscribe n?w*", "*3 $10 psubscribe $4 n?w* :3")
	pub.do("publish news hello", ":2")
	sub.reads("*3 $7 message $4 news $5 hello *4 $8 pmessage $4 n?w* $4 news $5 hello")
	pub.do("publish nobody hello", ":0")
	pub.script([]exchange{
		{"pubsub channels n*", "*1 $4 news"}, {"pubsub numsub news nobody", "*4 $4 news :1 $6 nobody :0"}, {"pubsub numpat", ":1"},
	})
	sub.do("unsubscribe news", "*3 $11 unsubscribe $4 news :2")
	pub.do("publish news again", ":1")
	sub.reads("*4 $8 pmessage $4 n?w* $4 news $5 again")
	sub.do("punsubscribe", "*3 $12 punsubscribe $4 n?w* :1")
	sub.do("unsubscribe", "*3 $11 unsubscribe $5 other :0")
	sub.do("unsubscribe", "*3 $11 unsubscribe $-1 :0")
	pub.do("publish news again", ":0")
	sub.do("get a", "$-1")
}

func TestASubscriberOfRESP2DoesNothingElse(t *testing.T) {
	c := startNode(t, Options{}).dial()
	c.script([]exchange{
		{"subscribe a", "*3 $9 subscribe $1 a :1"},
		{"get a", "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"},
		{"ping", "*2 $4 pong $0 "}, {"ping hi", "*2 $4 pong $2 hi"}, {"reset", "+RESET"}, {"get a", "$-1"},
		{"subscribe a", "*3 $9 subscribe $1 a :1"}, {"quit", "+OK"},
	})
	c.readsEnd()
}

func TestASubscriberOfRESP3GetsPushes(t *testing.T) {
	n := startNode(t, Options{})
	c := n.dial()
	c.run("hello 3")
	c.script([]exchange{
		{"subscribe a", ">3 $9 subscribe $1 a :1"}, {"set k v", "+OK"}, {"ping", "+PONG"},
		{"publish a x", ">3 $7 message $1 a $1 x :1"},
		{"multi", "+OK"}, {"subscribe b", "+QUEUED"}, {"publish b y", "+QUEUED"},
		{"exec", "*2 >3 $9 subscribe $1 b :2 :1"},
	})
	n.dial().do("publish b z", ":1")
	c.reads(">3 $7 message $1 b $1 z")
}

func TestMessagesOfAPipelineKeepTheirOrder(t *testing.T) {
	n := startNode(t, Options{})
	sub, pub := n.dial(), n.dial()
	sub.do("subscribe c", "*3 $9 subscribe $1 c :1")
	const count = 500
	var requests, replies, messages strings.Builder
	for i := range count {
		m := string(rune('a' + i%26))
		requests.WriteString("publish c " + m + "\r\n")
		replies.WriteString(" :1")
		messages.WriteString(" *3 $7 message $1 c $1 " + m)
	}
	pub.send(requests.String())
	pub.reads(replies.String()[1:])
	sub.reads(messages.String()[1:])
}

func TestASlowSubscriberIsCutAndCostsNobodyElse(t *testing.T) {
	n := startNode(t, Options{MaxOutputBytes: 1 << 20})
	slow, fast, pub := n.dial(), n.dial(), n.dial()
	slow.do("subscribe c", "*3 $9 subscribe $1 c :1")
	fast.do("subscribe c", "*3 $9 subscribe $1 c :1")
	payload := strings.Repeat("x", 256<<10)
	cut := false
	for range 400 { // far beyond what the sockets hold
		pub.send("*3\r\n$7\r\npublish\r\n$1\r\nc\r\n$262144\r\n" + payload + "\r\n")
		got := pub.line()
		fast.reads("*3 $7 message $1 c $262144 " + payload)
		if got == ":1" {
			cut = true
			break
		}
	}
	if !cut {
		t.Fatal("the slow subscriber was never cut")
	}
	if n.srv.stats.dropped.Load() != 1 {
		t.Errorf("%d connections dropped, want 1", n.srv.stats.dropped.Load())
	}
}
