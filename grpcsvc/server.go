package grpcsvc

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/grpcsvc/electionpb"
	"github.com/triglot/triglot/grpcsvc/h2"
	"github.com/triglot/triglot/grpcsvc/lockpb"
)

// etcd's own limits and intervals (Documentation "System limits", etcd --help), which clients are tuned to.
const (
	maxRequestBytesDefault  = 1536 * 1024
	messageOverheadBytes    = 512 * 1024 // what gRPC accepts beyond maxRequestBytes, so that the refusal is worded by us
	maxTxnOpsDefault        = 128
	progressIntervalDefault = 10 * time.Minute
	leaderPatienceDefault   = 3 * time.Second
	bcryptCostDefault       = 10
	handshakeTimeoutDefault = 10 * time.Second

	clientPingMinDefault     = 5 * time.Second
	serverPingDefault        = 2 * time.Hour
	serverPingTimeoutDefault = 20 * time.Second
)

// Options says what the API accepts. Zero values mean etcd's defaults.
type Options struct {
	MaxRequestBytes  int           // size of a marshalled request; 1.5 MiB
	MaxTxnOps        int           // compares or operations in one branch of a Txn, nested ones included; 128
	ProgressInterval time.Duration // between a quiet watcher's progress notifications; 10 min
	// LeaderPatience is for how long the leader may be missing before the streams of clients that want one are ended, and
	// health checks fail; 3 s. etcd takes three election timeouts.
	LeaderPatience time.Duration

	// Tokens are what clients log in with; nil = simple ones. BcryptCost is the strength of new passwords' hashes, from 4
	// to 31, each step twice the work; 10.
	Tokens     Tokens
	BcryptCost int
	// ClientCertAuth says that clients may be recognised by the common name of their certificate.
	ClientCertAuth bool

	// HandshakeTimeout is how long a connection may take to show whether it speaks gRPC or else HTTP, and to send the header
	// of a request; 10 s.
	HandshakeTimeout time.Duration
	Metrics          http.Handler // what answers /metrics; nil = nothing does
	Profiles         http.Handler // what answers /debug/pprof/; nil = nothing does
	Meters           *Meters      // what requests are counted in; nil = meters of its own
	NoGateway        bool         // answer no calls in JSON
	// Origins are those whose pages may read answers over HTTP (CORS), and Hosts the names that requests without TLS may be
	// for; empty, or with "*" among them = all.
	Origins, Hosts []string

	// MaxStreams is how many calls and streams a connection may have at a time; further ones wait. 2^32-1. ClientPingMin is
	// how far apart a client's pings must be, at the least, lest its connection be ended; 5 s. After ServerPing without a word a
	// client is asked whether it is there; 2 h. It has ServerPingTimeout to answer; 20 s.
	MaxStreams                                   uint32
	ClientPingMin, ServerPing, ServerPingTimeout time.Duration

	// ScratchDir is where the files of snapshots are made while they are sent; empty = where the system has temporary files.
	ScratchDir string

	Version string // Triglot's own, told by Status in metadata; empty = not told

	// Unary and Stream are around each call and each stream, such as those that count; the first is outermost.
	Unary  []grpc.UnaryServerInterceptor
	Stream []grpc.StreamServerInterceptor

	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.MaxRequestBytes <= 0 {
		o.MaxRequestBytes = maxRequestBytesDefault
	}
	if o.MaxTxnOps <= 0 {
		o.MaxTxnOps = maxTxnOpsDefault
	}
	if o.ProgressInterval <= 0 {
		o.ProgressInterval = progressIntervalDefault
	}
	if o.LeaderPatience <= 0 {
		o.LeaderPatience = leaderPatienceDefault
	}
	if o.HandshakeTimeout <= 0 {
		o.HandshakeTimeout = handshakeTimeoutDefault
	}
	o.MaxStreams = cmp.Or(o.MaxStreams, math.MaxUint32)
	o.ClientPingMin = cmp.Or(o.ClientPingMin, clientPingMinDefault)
	o.ServerPing = cmp.Or(o.ServerPing, serverPingDefault)
	o.ServerPingTimeout = cmp.Or(o.ServerPingTimeout, serverPingTimeoutDefault)
	if o.Tokens == nil {
		o.Tokens = simpleTokens{}
	}
	if o.BcryptCost == 0 {
		o.BcryptCost = bcryptCostDefault
	}
	if o.Meters == nil {
		o.Meters = NewMeters()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Server serves etcd's API from a store.
type Server struct {
	store *core.Store
	opts  Options

	clusterID, memberID uint64

	mixed    *h2.Server // of HTTP/2: calls, and other requests on the same connections
	calls    *h2.Server // calls alone
	plain    *h2.Server // other requests alone
	inside   *h2.Server // the calls that the gateway makes of them; it ends when they have
	front    *front
	health   *health.Server
	lifetime context.Context // ends when Shutdown begins, and the streams with it
	end      context.CancelFunc
	owned    sync.WaitGroup // receivers, the gateway's connection, and what follows leader and alarms
}

// New makes a server. It owns no socket until Serve, and must be given to Shutdown in the end.
func New(store *core.Store, opts Options) *Server {
	opts = opts.withDefaults()
	status := store.Status()
	s := &Server{
		store:     store,
		opts:      opts,
		clusterID: status.ClusterID,
		memberID:  status.MemberID,
		health:    health.NewServer(),
	}
	s.lifetime, s.end = context.WithCancel(context.Background())
	leader := newLeadership(store, opts.LeaderPatience)
	front, err := newFront(s)
	if err != nil {
		panic(err) // rows of a table that contradict each other: a mistake of this package
	}
	s.front = front
	connections := h2.Options{
		MessageBytesMax:  opts.MaxRequestBytes + messageOverheadBytes,
		MaxStreams:       opts.MaxStreams,
		HandshakeTimeout: opts.HandshakeTimeout,
		PingMin:          opts.ClientPingMin, PingAfter: opts.ServerPing, PingTimeout: opts.ServerPingTimeout,
		Unary:  append([]grpc.UnaryServerInterceptor{leader.unary}, opts.Unary...),
		Stream: append([]grpc.StreamServerInterceptor{leader.stream}, opts.Stream...),
		Logger: opts.Logger,
	}
	s.calls, s.inside = h2.New(connections), h2.New(connections)
	connections.HTTP = front
	s.mixed, s.plain = h2.New(connections), h2.New(connections)
	for _, to := range []*h2.Server{s.mixed, s.calls, s.inside} {
		s.register(to)
	}
	if front.gateway != nil {
		s.owned.Go(func() { s.inside.Serve(front.gateway.inside) })
	}
	s.owned.Go(func() { leader.run(s.lifetime.Done()) })
	s.owned.Go(func() { s.followHealth(leader) })
	return s
}

// register adds the services to what serves calls.
func (s *Server) register(to *h2.Server) {
	pb.RegisterKVServer(to, &kvService{Server: s})
	pb.RegisterWatchServer(to, &watchService{Server: s})
	pb.RegisterLeaseServer(to, &leaseService{Server: s})
	pb.RegisterClusterServer(to, &clusterService{Server: s})
	pb.RegisterMaintenanceServer(to, &maintenanceService{Server: s})
	pb.RegisterAuthServer(to, &authService{Server: s})
	lockpb.RegisterLockServer(to, &lockService{recipes: newRecipes(s)})
	electionpb.RegisterElectionServer(to, &electionService{recipes: newRecipes(s)})
	grpc_health_v1.RegisterHealthServer(to, &healthService{Server: s.health, lifetime: s.lifetime})
	reflectionpb.RegisterServerReflectionServer(to, newReflection(s, to))
}

// Serve answers the connections of a listener until Shutdown, and then returns nil: gRPC, and everything else over HTTP. It
// may be called for several listeners at once, and so may its parts, ServeGRPC and ServeHTTP.
func (s *Server) Serve(l net.Listener) error {
	return s.serveSplit(l, s.mixed)
}

// ServeGRPC is Serve for a listener with gRPC alone.
func (s *Server) ServeGRPC(l net.Listener) error {
	err := s.calls.Serve(l)
	if s.lifetime.Err() != nil {
		return nil
	}
	return err
}

// ServeHTTP is Serve for a listener without gRPC.
func (s *Server) ServeHTTP(l net.Listener) error {
	return s.serveSplit(l, s.plain)
}

// serveSplit has connections of HTTP/2 served by h2, and others by net/http.
func (s *Server) serveSplit(l net.Listener, http2 *h2.Server) error {
	split := newSplitter(l, s.opts.HandshakeTimeout)
	var serving sync.WaitGroup
	serving.Go(func() { _ = http2.Serve(split.http2) }) // both end when the splitter does, whose error tells why
	serving.Go(func() { _ = s.front.server.Serve(split.http1) })
	err := split.run()
	serving.Wait()
	if s.lifetime.Err() != nil {
		return nil
	}
	return err
}

// Shutdown closes the listeners, ends watch and keep-alive streams with Unavailable "server stopped", and waits for the
// requests that are running. When the context ends first the connections are cut, and its error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.health.Shutdown()
	s.end()
	var ending sync.WaitGroup // at the same time: who takes all of it leaves the others theirs
	var errs [3]error
	ending.Go(func() { s.front.shutdown(ctx) })
	for i, server := range [...]*h2.Server{s.mixed, s.calls, s.plain} {
		ending.Go(func() { errs[i] = server.Shutdown(ctx) })
	}
	ending.Wait()
	if s.front.gateway != nil {
		s.front.gateway.conn.Close()
	}
	err := s.inside.Shutdown(ctx)
	s.owned.Wait()
	return cmp.Or(errs[0], errs[1], errs[2], err)
}
