package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

// Connections on which nothing comes are asked for a sign of life, so that the streams of a member that vanished end.
const (
	servedKeepaliveTime    = 5 * time.Second
	servedKeepaliveTimeout = 3 * time.Second
	clientPingMin          = 5 * time.Second
	servedStreamsMax       = 1024 // on one connection
	handshakeTimeout       = 10 * time.Second
	toldAgain              = time.Minute // a refusal that did not come for so long is a new one
)

func (t *Transport) newServer() *grpc.Server {
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{}),
		grpc.MaxRecvMsgSize(t.receiveMax()), grpc.MaxSendMsgSize(t.receiveMax()),
		grpc.MaxConcurrentStreams(servedStreamsMax),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.WaitForHandlers(true), // so that the node's methods are not called any more once Stop has returned
		grpc.WriteBufferSize(writeBufferBytes), grpc.ReadBufferSize(readBufferBytes),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: servedKeepaliveTime, Timeout: servedKeepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: clientPingMin, PermitWithoutStream: true}),
	}
	if t.opts.TLS != nil {
		options = append(options, grpc.Creds(&toldCredentials{
			TransportCredentials: credentials.NewTLS(t.opts.TLS.server()), t: t,
		}))
	}
	s := grpc.NewServer(options...)
	s.RegisterService(serviceDesc(), t)
	return s
}

// admit checks who calls. The error is the refusal.
func (t *Transport) admit(ctx context.Context) (*peerpb.Hello, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	hello, refused := t.identity.admit(md)
	if refused != nil {
		t.inbound.tell(t, remoteHost(ctx), refused.words)
		return nil, refused.status()
	}
	return hello, nil
}

// accept admits the caller of a stream and greets it.
func (t *Transport) accept(stream grpc.ServerStream) (*peerpb.Hello, error) {
	hello, err := t.admit(stream.Context())
	if err != nil {
		return nil, err
	}
	return hello, stream.SendHeader(encodeHello(t.identity.hello(hello.From)))
}

// serveMessages hands the messages of a stream to the node, in order. While the node lets it wait, gRPC's flow control
// lets the sender wait, and this stream only.
func (t *Transport) serveMessages(stream grpc.ServerStream, class class) error {
	hello, err := t.accept(stream)
	if err != nil {
		return err
	}
	from := hello.From
	defer t.visit(from, hello.Urls)()
	lane := t.inbound.lane(from, class)
	turn := lane.enter()
	counts := t.counts.of(from)
	for {
		var f frame
		err := stream.RecvMsg(&f)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		counts.receivedBytes.Add(uint64(f.bytes))
		counts.receivedMessages.Add(uint64(len(f.pb.Messages)))
		if misplaced(&f.pb, from, t.identity.member) {
			return status.Error(codes.InvalidArgument, "a message of or for another member")
		}
		if !lane.pass(turn, func() { t.handler.Receive(f.pb.Messages) }) {
			return status.Error(codes.Aborted, "the member has a newer stream")
		}
	}
}

func misplaced(f *peerpb.Frame, from, to uint64) bool {
	for _, m := range f.Messages {
		if m.GetFrom() != from || m.GetTo() != to {
			return true
		}
	}
	return false
}

// inbound is what has to be known across the streams of one member.
type inbound struct {
	snapshots receiving

	mu    sync.Mutex // guards what follows
	lanes map[laneOf]*lane
	told  map[string]time.Time // by host and words: when a refusal was seen last
}

type laneOf struct {
	from  uint64
	class class
}

// lane keeps the order of one class of one member when a new stream takes the place of one that broke: what the old one
// still has is thrown away.
type lane struct {
	mu   sync.Mutex // held while messages are handed over; guards what follows
	turn uint64     // of the newest stream
}

func (i *inbound) lane(from uint64, class class) *lane {
	i.mu.Lock()
	defer i.mu.Unlock()
	key := laneOf{from, class}
	if i.lanes[key] == nil {
		if i.lanes == nil || len(i.lanes) >= 2*countsMax {
			i.lanes = map[laneOf]*lane{} // of made-up members; what is running keeps its own
		}
		i.lanes[key] = &lane{}
	}
	return i.lanes[key]
}

func (l *lane) enter() (turn uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn++
	return l.turn
}

// pass reports false, and does nothing, if there is a newer stream.
func (l *lane) pass(turn uint64, deliver func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.turn != turn {
		return false
	}
	deliver()
	return true
}

// tell logs a refusal, once: not again as long as it is repeated every now and then.
func (i *inbound) tell(t *Transport, host, words string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	key, now := host+" "+words, time.Now()
	last, known := i.told[key]
	if i.told == nil || len(i.told) >= countsMax {
		i.told = map[string]time.Time{}
	}
	i.told[key] = now
	if !known || now.Sub(last) > toldAgain {
		t.log.Warn("a call of another member was refused", "host", host, "reason", words)
	}
}

func remoteHost(ctx context.Context) string {
	p, ok := grpcpeer.FromContext(ctx)
	if !ok {
		return ""
	}
	return hostOf(p.Addr)
}

func hostOf(address net.Addr) string {
	host, _, err := net.SplitHostPort(address.String())
	if err != nil {
		return address.String()
	}
	return host
}

// toldCredentials tells the operator of handshakes that fail. gRPC only closes the connection.
type toldCredentials struct {
	credentials.TransportCredentials
	t *Transport
}

func (c *toldCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := c.TransportCredentials.ServerHandshake(conn)
	if err != nil && !errors.Is(err, io.EOF) {
		c.t.inbound.tell(c.t, hostOf(conn.RemoteAddr()), "TLS: "+err.Error())
	}
	return secured, info, err
}

func (c *toldCredentials) Clone() credentials.TransportCredentials {
	return &toldCredentials{TransportCredentials: c.TransportCredentials.Clone(), t: c.t}
}
