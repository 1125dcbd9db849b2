package grpcsvc

import (
	"context"
	"slices"

	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/triglot/triglot/core"
)

// followHealth says NOT_SERVING while this member has been without a leader for too long, or the CORRUPT alarm is raised:
// clients that look at it find another member then. etcd says SERVING whatever happens.
func (s *Server) followHealth(leader *leadership) {
	for {
		lost, leaderChanged := leader.watch()
		alarms, alarmsChanged := s.store.AlarmWatch()
		state := grpc_health_v1.HealthCheckResponse_SERVING
		if lost || slices.ContainsFunc(alarms, func(a core.Alarm) bool { return a.Kind == core.AlarmCorrupt }) {
			state = grpc_health_v1.HealthCheckResponse_NOT_SERVING
		}
		s.health.SetServingStatus("", state)
		select {
		case <-leaderChanged:
		case <-alarmsChanged:
		case <-s.lifetime.Done():
			return
		}
	}
}

// healthService is grpc.health.v1.Health, for load balancers and probes. The library's server watches until the client
// goes away; here Shutdown ends that too.
type healthService struct {
	*health.Server
	lifetime context.Context // of the server
}

// Watch follows the state of a service until the client or the server ends it.
func (h *healthService) Watch(r *grpc_health_v1.HealthCheckRequest, stream grpc_health_v1.Health_WatchServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(h.lifetime, cancel)()
	return h.Server.Watch(r, &healthStream{Health_WatchServer: stream, ctx: ctx})
}

// healthStream is a stream that ends early.
type healthStream struct {
	grpc_health_v1.Health_WatchServer
	ctx context.Context
}

func (s *healthStream) Context() context.Context { return s.ctx }
