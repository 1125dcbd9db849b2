package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// The commands that talk to a running cluster do so as any etcd client does, at its members' etcd addresses.

const (
	endpointsVariable = variablePrefix + "ENDPOINTS"
	endpointsDefault  = "127.0.0.1:2379"

	// answerWithin bounds the first answer of a member: one that is stopped or cut off gives none.
	answerWithin = 2 * time.Second
	// snapshotMessageMax is for messages that members send unasked for: parts of a snapshot.
	snapshotMessageMax = 64 << 20

	// versionMetadata comes with the answer to Status: etcd's own fields say which etcd a member can be taken for.
	versionMetadata = "triglot-version"
)

// clientFlags are those of every command that talks to a cluster.
type clientFlags struct {
	dialer
	endpoints []string
	timeout   time.Duration
	output    string
}

func (f *clientFlags) register(cmd *cobra.Command, outputs ...string) {
	usual := endpointsDefault
	if given := os.Getenv(endpointsVariable); given != "" {
		usual = given
	}
	cmd.Flags().StringSliceVar(&f.endpoints, "endpoints", splitList(usual), "etcd addresses of members, host:port, https://host:port or unix:path; the first that answers is asked ("+endpointsVariable+")")
	f.dialer.register(cmd)
	cmd.Flags().DurationVar(&f.timeout, "timeout", 10*time.Second, "time for the answer")
	if len(outputs) > 0 {
		cmd.Flags().VarP(choice(&f.output, outputs[0], outputs...), "output", "o", "form of the output")
	}
}

// member is a connection to one member.
type member struct {
	endpoint string // host:port
	conn     *grpc.ClientConn
	dialer   *dialer // to reach others in the same way

	version string // of Triglot; empty if it is something else
	status  *pb.StatusResponse
}

func (m *member) cluster() pb.ClusterClient         { return pb.NewClusterClient(m.conn) }
func (m *member) maintenance() pb.MaintenanceClient { return pb.NewMaintenanceClient(m.conn) }
func (m *member) close()                            { m.conn.Close() }

// ask gets the member's status.
func (m *member) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var header metadata.MD
	answer, err := m.maintenance().Status(ctx, &pb.StatusRequest{}, grpc.Header(&header))
	if err != nil {
		return plain(err)
	}
	m.status = answer
	if v := header.Get(versionMetadata); len(v) > 0 {
		m.version = v[0]
	}
	return nil
}

// connect finds a member to talk to: the first that answers and knows a leader, or else the first that answers.
func (f *clientFlags) connect(ctx context.Context) (*member, error) {
	var second *member
	var problems []string
	for _, endpoint := range f.endpoints {
		m, err := f.dial(ctx, endpoint)
		switch {
		case err != nil:
			problems = append(problems, fmt.Sprintf("%s: %v", endpoint, err))
		case m.status.Leader != 0:
			if second != nil {
				second.close()
			}
			return m, nil
		case second == nil:
			second = m
		default:
			m.close()
		}
	}
	if second != nil {
		return second, nil
	}
	if len(problems) == 0 {
		return nil, errors.New("--endpoints is empty; give the etcd address of a member, like " + endpointsDefault)
	}
	return nil, fmt.Errorf("no member answers (%s); is one running? 'triglot serve' starts one, and --endpoints host:port says where to ask",
		strings.Join(problems, "; "))
}

// context is that of one command.
func (f *clientFlags) context(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return context.WithTimeout(cmd.Context(), f.timeout)
}

// plain is an error of gRPC in the words of the server, or of the operating system.
func plain(err error) error {
	s, ok := status.FromError(err)
	if !ok {
		return err // of this program or its system
	}
	message := s.Message()
	if at := strings.LastIndex(message, "dial tcp "); at >= 0 { // transport: Error while dialing: dial tcp …: connect: connection refused
		message = strings.Trim(message[strings.LastIndex(message, ": ")+2:], `"`)
	}
	if s.Code() == codes.DeadlineExceeded {
		message = "no answer in time"
	}
	return errors.New(message)
}
