package grpcsvc

import (
	"context"
	"math"
	"net"
	"net/http"

	"github.com/gorilla/websocket"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.etcd.io/etcd/api/v3/etcdserverpb/gw"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/triglot/triglot/grpcsvc/electionpb"
	"github.com/triglot/triglot/grpcsvc/lockpb"
)

// The JSON gateway: etcd's calls as POST /v3/… with JSON, each of which becomes a call of gRPC on a connection within the
// process. So it is checked, counted and answered as any other, and knows nothing of what the calls do.

// gatewayRoot is what the paths of the gateway begin with.
const gatewayRoot = "/v3/"

// gatewayServices is what can be called. A service more is a row more.
var gatewayServices = []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error{
	gw.RegisterKVHandler,
	gw.RegisterWatchHandler,
	gw.RegisterLeaseHandler,
	gw.RegisterClusterHandler,
	gw.RegisterMaintenanceHandler,
	gw.RegisterAuthHandler,
	lockpb.RegisterLockHandler,
	electionpb.RegisterElectionHandler,
}

// gatewayBytesFactor bounds a body in JSON by what gRPC takes of the message it stands for: base64 adds a third to keys
// and values, and names of fields are spelled out.
const gatewayBytesFactor = 2

type gateway struct {
	*front
	mux      *runtime.ServeMux
	conn     *grpc.ClientConn
	inside   *outlet // what the gRPC server takes the gateway's connection from
	bytesMax int64   // of a request's body
	upgrade  websocket.Upgrader
}

func newGateway(f *front) (*gateway, error) {
	messageBytesMax := f.opts.MaxRequestBytes + messageOverheadBytes
	g := &gateway{
		front:    f,
		inside:   newOutlet(&net.UnixAddr{Name: "gateway", Net: "pipe"}, nil),
		bytesMax: gatewayBytesFactor * int64(messageBytesMax),
		// As in etcd: 64-bit numbers are text, bytes are base64, and fields have the names of the proto file.
		mux: runtime.NewServeMux(runtime.WithMarshalerOption(runtime.MIMEWildcard, &runtime.HTTPBodyMarshaler{
			Marshaler: &runtime.JSONPb{
				MarshalOptions:   protojson.MarshalOptions{UseProtoNames: true},
				UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
			},
		})),
	}
	g.upgrade.CheckOrigin = func(r *http.Request) bool {
		origin := r.Header.Get("Origin")
		return origin == "" || listed(f.opts.Origins, origin)
	}
	var err error
	g.conn, err = grpc.NewClient("passthrough:///gateway",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(g.dial),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(messageBytesMax)))
	if err != nil {
		return nil, err
	}
	for _, register := range gatewayServices {
		if err := register(f.lifetime, g.mux, g.conn); err != nil {
			g.conn.Close()
			return nil, err
		}
	}
	return g, nil
}

// dial connects to the gRPC server without a socket.
func (g *gateway) dial(ctx context.Context, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case g.inside.conns <- theirs:
		return ours, nil
	case <-g.inside.closed:
	case <-ctx.Done():
	}
	ours.Close()
	theirs.Close()
	return nil, net.ErrClosed
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if websocket.IsWebSocketUpgrade(r) {
		g.bridge(w, r)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, g.bytesMax)
	g.mux.ServeHTTP(w, r)
}
