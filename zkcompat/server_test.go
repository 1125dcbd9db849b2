package zkcompat

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/triglot/triglot/core/corepb"
)

func grantLease(id int64, ttl time.Duration) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_LeaseGrant{LeaseGrant: &corepb.LeaseGrant{Id: id, TtlMillis: ttl.Milliseconds()}}}
}

func (s *testServer) word(word string) string {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(nc, word); err != nil {
		s.t.Fatal(err)
	}
	text, err := io.ReadAll(nc)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

func TestTheFourLetterWordsAnswer(t *testing.T) {
	s := startServer(t, Options{Version: "1.2", Settings: []Setting{{"clientPort", "2181"}}})
	c := s.connect()
	c.create("/e", "", modeEphemeral)
	c.exists("/w", true)
	for _, test := range []struct{ word, want string }{
		{"ruok", "imok"},
		{"ruok\n", "imok"},
		{"isro", "rw"},
		{"srvr", "Zookeeper version: 3.9.5-triglot-1.2, built"},
		{"srvr", "Received: 2\nSent: 3\nConnections: "},
		{"srvr", "Mode: standalone\nNode count: 5\n"},
		{"stat", "Clients:\n /127.0.0.1:"},
		{"mntr", "zk_server_state\tstandalone\n"},
		{"mntr", "zk_ephemerals_count\t1\n"},
		{"mntr", "zk_watch_count\t1\n"},
		{"mntr", "zk_cnt_create_requests\t1\n"},
		{"conf", "clientPort=2181\nminSessionTimeout=4000\nmaxSessionTimeout=40000\n"},
		{"cons", "lop=EXIS,"},
		{"dump", "Sessions with Ephemerals (1):\n"},
		{"dump", ":\n\t/e\n"},
		{"envi", "Environment:\nzookeeper.version=3.9.5-triglot-1.2"},
		{"wchs", "1 connections watching 1 paths\nTotal watches:1\n"},
		{"wchc", "\t/w\n"},
		{"wchp", "/w\n\t0x"},
	} {
		if got := s.word(test.word); !strings.Contains(got, test.want) {
			t.Errorf("%q answers %q, want %q in it", test.word, got, test.want)
		}
	}
	c.take()
}

func TestAPacketThatIsMalformedEndsItsConnectionOnly(t *testing.T) {
	s := startServer(t, Options{PacketBytesMax: 1000})
	bystander := s.connect()
	for name, packet := range map[string][]byte{
		"negative length":   {0xff, 0xff, 0xff, 0xff},
		"too long":          {0, 0, 0x03, 0xe9},
		"no header":         {0, 0, 0, 2, 0, 0},
		"truncated getData": {0, 0, 0, 13, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 100, '/'},
		"forged vector":     append([]byte{0, 0, 0, 28, 0, 0, 0, 1, 0, 0, 0, 101}, bytes.Repeat([]byte{0x7f}, 20)...),
	} {
		c := s.connect()
		c.create("/e", "", modeEphemeral)
		c.raw(packet)
		c.wantClosed()
		back := s.connectAs(hello{session: c.session, password: c.password})
		if !back.exists("/e", false) {
			t.Errorf("%s: the session ended too", name)
		}
		back.delete("/e")
	}
	c := s.connect()
	c.want(c.call(5, setBody("/", strings.Repeat("x", 1000-8-4-1-4-4), -1)), codeOK)
	bystander.take()
}

func TestTheLargestPacketIsCarriedOut(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	data := strings.Repeat("x", 1_048_575-8-4-1-4-4)
	c.set("/", data)
	if got, _ := c.get("/", false); got != data {
		t.Errorf("%d bytes came back of %d", len(got), len(data))
	}
	var deletes []func(*encoder)
	for range 50_000 {
		deletes = append(deletes, item(13, numberBody("/", -1)))
	}
	wantHeader(t, c.want(c.call(opMulti, items(deletes...)), codeOK).body, 13, codeOK)
}

func TestAnAnswerBeforeTheEndSaysWhatWasWrong(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	c.want(c.call(opGetData, func(e *encoder) { e.int32(100) }), codeMarshallingError)
	c.wantClosed()
}

func TestAHandshakeThatIsNoneIsNotAnswered(t *testing.T) {
	s := startServer(t, Options{HandshakeTimeout: 300 * time.Millisecond})
	for _, packet := range [][]byte{{}, {0}, {0, 0, 0, 4, 0, 0, 0, 0}, {0, 1, 0, 0}, []byte("GET / HTTP/1.1\r\n\r\n")} {
		c := dial(t, s.addr)
		c.raw(packet)
		if _, err := c.tryReceive(); err == nil {
			t.Errorf("%q was answered", packet)
		}
	}
}

func TestRequestsMayFollowTheConnectRequestBeforeItsAnswer(t *testing.T) {
	s := startServer(t, Options{})
	c := dial(t, s.addr)
	var e encoder
	e.int32(45)
	e.int32(0)
	e.int64(0)
	e.int32(10_000)
	e.int64(0)
	e.bytes(make([]byte, 16))
	e.bool(false)
	e.int32(8)
	e.int32(-2)
	e.int32(11)
	c.raw(e.buf)
	if d := c.receive(); len(d.rest) != 37 {
		t.Errorf("a connect answer of %d bytes", len(d.rest))
	}
	c.want(c.answer(-2), codeOK)
}

func TestTooManyUnansweredRequestsStopTheReader(t *testing.T) {
	for _, opts := range []Options{{InFlightMax: 2}, {InFlightBytesMax: 100}} {
		s := startServer(t, opts)
		c := s.connect()
		const requests = 500
		go func() {
			for range requests {
				c.send(opCreate, createBody("/s-", "some data", modeSequential))
			}
		}()
		for i := range int32(requests) {
			c.want(c.answer(i+1), codeOK)
			if n := s.Metrics().Outstanding; n > 8 {
				t.Fatalf("%+v: %d requests are unanswered", opts, n)
			}
		}
	}
}

func TestShutdownAnswersWhatWasReadAndClosesEveryConnection(t *testing.T) {
	s := startServer(t, Options{})
	second := &testServer{Server: s.Server, t: t}
	second.addr = second.listen()
	a, b := s.connect(), second.connect()
	for range 50 {
		a.send(opCreate, createBody("/s-", "", modeSequential))
	}
	a.answer(1)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	second.served.Wait()
	answered := int32(1)
	for d, err := a.tryReceive(); err == nil; d, err = a.tryReceive() {
		answered++
		if xid := d.int32(); xid != answered {
			t.Fatalf("an answer to %d, while %d was due", xid, answered)
		}
	}
	b.wantClosed()
	view, err := s.store.View(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	if made := view.Count(0); made != int64(answered) {
		t.Errorf("%d nodes were made and %d requests answered", made, answered)
	}
	if n := s.Metrics(); n.Connections != 0 || n.Outstanding != 0 {
		t.Errorf("after the shutdown: %+v", n)
	}
	if _, err := net.Dial("tcp", s.addr); err == nil {
		t.Error("the listener is still there")
	}
}

func TestAClientThatDoesNotReadIsGivenUp(t *testing.T) {
	s := startServer(t, Options{SessionTimeoutMin: 300 * time.Millisecond})
	other := s.connect()
	other.create("/big", strings.Repeat("x", 900_000), modePersistent)
	c := s.connectAs(hello{timeout: 300 * time.Millisecond})
	c.create("/e", "", modeEphemeral)
	other.exists("/e", true)
	for range 100 {
		c.send(opGetData, watchBody("/big", false))
	}
	if e := other.event(); e != (event{eventDeleted, "/e"}) {
		t.Errorf("%v", e)
	}
}

func TestEveryOpcodeHasAWholeRow(t *testing.T) {
	if len(opcodeTable)+2 > len((&serverStats{}).ops) {
		t.Error("there are more opcodes than counters")
	}
	var names []string
	for _, row := range opcodeTable {
		names = append(names, row.name)
		logged := row.code == opMulti || row.build != nil && row.reply != nil
		if row.decode == nil || row.short == "" || row.logged && !logged || !row.logged && row.read == nil {
			t.Errorf("row %s lacks something", row.name)
		}
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != len(opcodeTable) {
		t.Error("two rows have one name")
	}
}
