package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/triglot/triglot/raftlog"
	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

// frames writes frames as they are on a connection.
func frames(t testing.TB, list ...any) []byte {
	t.Helper()
	var out []byte
	for ; len(list) > 0; list = list[2:] {
		body, err := proto.Marshal(list[1].(proto.Message))
		if err != nil {
			t.Fatal(err)
		}
		out = binary.BigEndian.AppendUint32(out, uint32(len(body)))
		out = append(append(out, byte(list[0].(peerpb.Kind))), body...)
	}
	return out
}

func opening(purpose peerpb.Opening_Purpose) *peerpb.Opening {
	return &peerpb.Opening{Purpose: purpose, Hello: &peerpb.Hello{Protocol: protocolVersion, Cluster: testCluster, From: 1, To: 2}}
}

func TestFramesAreReadAsTheyWereWritten(t *testing.T) {
	near, far := net.Pipe()
	from, to := newWire(near), newWire(far)
	to.bytesMax = 4 << 20
	large := &peerpb.Answer{Id: 7, Answer: bytes.Repeat([]byte("x"), 3<<20)} // more than either side keeps memory for
	var sizes []int
	sent := make(chan error, 1)
	go func() {
		for _, m := range []proto.Message{large, &peerpb.Answer{Id: 8}, &peerpb.Answer{}} {
			size, err := from.send(peerpb.Kind_ANSWER, m)
			if err != nil {
				sent <- err
				return
			}
			sizes = append(sizes, size)
		}
		sent <- near.Close()
	}()
	for _, want := range []*peerpb.Answer{large, {Id: 8}, {}} {
		got := &peerpb.Answer{}
		if err := to.expect(peerpb.Kind_ANSWER, got); err != nil || !proto.Equal(got, want) {
			t.Fatalf("%d bytes became %d, %v", len(want.Answer), len(got.Answer), err)
		}
	}
	if err := await(t, "the sender", sent); err != nil || sizes[0] != proto.Size(large) || sizes[2] != 0 {
		t.Errorf("sent %v, %v", sizes, err)
	}
	if _, _, err := to.receive(nil); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if from.out != nil && cap(from.out) > keptBytesMax || cap(to.in) > keptBytesMax {
		t.Errorf("%d and %d bytes are kept", cap(from.out), cap(to.in))
	}
}

func TestWhatIsNoFrameIsAnError(t *testing.T) {
	for name, test := range map[string]struct {
		bytes []byte
		want  error
	}{
		"nothing":            {nil, errClosed},
		"half a header":      {[]byte{0, 0}, io.ErrUnexpectedEOF},
		"half a message":     {[]byte{0, 0, 0, 9, byte(peerpb.Kind_ANSWER), 1}, io.ErrUnexpectedEOF},
		"no kind":            {[]byte{0, 0, 0, 0, 0}, errStranger},
		"a large one":        {[]byte{0, 1, 0, 1, byte(peerpb.Kind_ANSWER)}, errStranger},
		"no message":         {[]byte{0, 0, 0, 1, byte(peerpb.Kind_ANSWER), 0xff}, errStranger},
		"another one":        {frames(t, peerpb.Kind_PING, &peerpb.Nothing{}), errStranger},
		"a damaged refusal":  {[]byte{0, 0, 0, 1, byte(peerpb.Kind_REFUSAL), 0xff}, errStranger},
		"a damaged failure":  {[]byte{0, 0, 0, 1, byte(peerpb.Kind_FAILURE), 0xff}, errStranger},
		"HTTP, and no frame": {[]byte("GET / HTTP/1.1\r\n\r\n"), errStranger},
	} {
		near, far := net.Pipe()
		go func() { near.Write(test.bytes); near.Close() }()
		if err := newWire(far).expect(peerpb.Kind_ANSWER, &peerpb.Answer{}); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Words come through although the caller is still sending when they are said.
func TestTheCallerIsToldWhyItsConnectionEnds(t *testing.T) {
	b := start(t, newNode(2), Options{})
	b.node.receiveSnapshot = (&staging{}).receive
	for name, test := range map[string]struct {
		purpose peerpb.Opening_Purpose
		frame   []byte
		want    string
	}{
		"messages of another": {peerpb.Opening_BULK, frames(t, peerpb.Kind_MESSAGES, &peerpb.Messages{Messages: []*raftpb.Message{app(3, 2, 1)}}), "of or for another member"},
		"damaged messages":    {peerpb.Opening_URGENT, []byte{0, 0, 0, 1, byte(peerpb.Kind_MESSAGES), 0x0a}, "messages: "},
		"what is no message":  {peerpb.Opening_URGENT, frames(t, peerpb.Kind_PING, &peerpb.Nothing{}), "PING is not for this connection"},
		"what is no question": {peerpb.Opening_QUESTIONS, frames(t, peerpb.Kind_PING, &peerpb.Nothing{}), "PING is not for this connection"},
		"a damaged question":  {peerpb.Opening_QUESTIONS, []byte{0, 0, 0, 1, byte(peerpb.Kind_QUESTION), 0xff}, "a question: "},
		"no offer":            {peerpb.Opening_SNAPSHOT, frames(t, peerpb.Kind_PART, &peerpb.SnapshotPart{}), "does not begin with the offer"},
		"an unknown purpose":  {99, nil, "purpose 99"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", b.opts.Listeners[0].Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			first := frames(t, peerpb.Kind_OPENING, opening(test.purpose))
			if _, err := conn.Write(bytes.Join([][]byte{first, test.frame, make([]byte, 1<<20)}, nil)); err != nil {
				t.Fatal(err)
			}
			w := newWire(conn)
			if err := w.expect(peerpb.Kind_HELLO, &peerpb.Hello{}); err != nil {
				t.Fatal(err)
			}
			var said *failure
			if err := w.ended(); !errors.As(err, &said) || !strings.Contains(said.words, test.want) {
				t.Errorf("told %v", err)
			}
		})
	}
}

func TestWhoeverSpeaksAnotherProtocolIsTurnedAway(t *testing.T) {
	b := start(t, newNode(2), Options{})
	for range 3 {
		if answer, err := http.Get(b.url); err == nil {
			answer.Body.Close()
			t.Errorf("HTTP is answered with %s", answer.Status)
		}
	}
	b.log.await(t, "does not speak the protocol of members", 1)
	a := start(t, newNode(1), Options{})
	a.SetPeers([]raftlog.Peer{b.peer()})
	a.log.await(t, "connected to member", 1)
	if n := b.log.count("level=WARN"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

// FuzzConnection lets a stranger, or a member gone mad, say anything. Nothing that is not of a member reaches the node, and the
// connection comes to its end.
func FuzzConnection(f *testing.F) {
	hello := &peerpb.Hello{Protocol: protocolVersion, Cluster: testCluster, From: 1, To: 2}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(frames(f, peerpb.Kind_OPENING, &peerpb.Opening{}))
	f.Add(frames(f, peerpb.Kind_OPENING, &peerpb.Opening{Purpose: peerpb.Opening_URGENT, Hello: hello},
		peerpb.Kind_MESSAGES, &peerpb.Messages{Messages: []*raftpb.Message{app(1, 2, 3, []byte("x")), app(1, 3, 3)}}))
	f.Add(frames(f, peerpb.Kind_OPENING, &peerpb.Opening{Purpose: peerpb.Opening_PINGS, Hello: hello}, peerpb.Kind_PING, &peerpb.Nothing{}))
	f.Add(frames(f, peerpb.Kind_OPENING, &peerpb.Opening{Purpose: peerpb.Opening_QUESTIONS, Hello: hello},
		peerpb.Kind_QUESTION, &peerpb.Question{Id: 1, Question: []byte("q"), PatienceNanos: 1e9},
		peerpb.Kind_CANCEL, &peerpb.Cancel{Id: 1}, peerpb.Kind_QUESTION, &peerpb.Question{Id: 1}))
	f.Add(frames(f, peerpb.Kind_OPENING, &peerpb.Opening{Purpose: peerpb.Opening_SNAPSHOT, Hello: hello},
		peerpb.Kind_PART, &peerpb.SnapshotPart{Part: &peerpb.SnapshotPart_Offer{Offer: &peerpb.SnapshotOffer{
			Message: snap(1, 2, 7), Files: []*peerpb.SnapshotFile{{Name: "a", Bytes: 3}},
		}}},
		peerpb.Kind_PART, &peerpb.SnapshotPart{Part: &peerpb.SnapshotPart_Chunk{Chunk: &peerpb.SnapshotChunk{Data: []byte("abc")}}},
		peerpb.Kind_PART, &peerpb.SnapshotPart{Part: &peerpb.SnapshotPart_Finish{Finish: &peerpb.SnapshotFinish{}}}))
	b := start(f, newNode(2), Options{})
	b.node.receiveSnapshot = func(*raftpb.Message, []raftlog.SnapshotFile) (raftlog.Incoming, error) { return &sink{}, nil }
	b.node.receive = func(messages []*raftpb.Message) {
		for _, m := range messages {
			if m.GetTo() != 2 {
				panic("a message for another member")
			}
		}
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		near, far := net.Pipe()
		answered := make(chan struct{})
		go func() { defer close(answered); io.Copy(io.Discard, near) }()
		go func() { near.Write(said); near.Close() }()
		b.serve(far)
		<-answered
	})
}
