package transport

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

// protocolVersion is that of peer.proto. Members of different versions of the program may talk to each other as long as
// this is the same.
const protocolVersion = 1

// helloKey is where a Hello is in the metadata of a call, and of the answer.
const helloKey = "triglot-hello-bin"

// refusal is why two members do not talk. Whoever finds it says it in the same words to its own operator and to the
// other side.
type refusal struct {
	reason peerpb.Refusal_Reason
	words  string
}

func (r *refusal) Error() string { return r.words }

// status is the refusal on its way.
func (r *refusal) status() error {
	s := status.New(codes.FailedPrecondition, r.words)
	if detailed, err := s.WithDetails(&peerpb.Refusal{Reason: r.reason}); err == nil {
		s = detailed
	}
	return s.Err()
}

// refusalOf finds the refusal in an error of a call; nil if it is another error.
func refusalOf(err error) *refusal {
	var own *refusal
	if errors.As(err, &own) {
		return own
	}
	s, ok := status.FromError(err)
	if !ok || s.Code() != codes.FailedPrecondition {
		return nil
	}
	for _, detail := range s.Details() {
		if r, ok := detail.(*peerpb.Refusal); ok {
			return &refusal{reason: r.Reason, words: s.Message()}
		}
	}
	return nil
}

func encodeHello(h *peerpb.Hello) metadata.MD {
	b, err := proto.Marshal(h)
	if err != nil {
		panic(err) // it has nothing that could fail
	}
	return metadata.Pairs(helloKey, string(b))
}

func decodeHello(md metadata.MD) (*peerpb.Hello, *refusal) {
	values := md.Get(helloKey)
	h := &peerpb.Hello{}
	if len(values) != 1 || proto.Unmarshal([]byte(values[0]), h) != nil {
		return nil, &refusal{peerpb.Refusal_PROTOCOL, "what is at the other end does not speak the protocol of members"}
	}
	return h, nil
}

// identity is who this member is, and whom it has to refuse.
type identity struct {
	cluster, member uint64
	urls            []string // where it is found
	isRemoved       func(member uint64) bool
}

// calling puts this member's Hello to another into a call.
func (i *identity) calling(ctx context.Context, to uint64) context.Context {
	return metadata.NewOutgoingContext(ctx, encodeHello(i.hello(to)))
}

func (i *identity) hello(to uint64) *peerpb.Hello {
	return &peerpb.Hello{Protocol: protocolVersion, Cluster: i.cluster, From: i.member, To: to, Urls: i.urls}
}

// admit checks the Hello of a call to this member.
func (i *identity) admit(md metadata.MD) (h *peerpb.Hello, refused *refusal) {
	h, refused = decodeHello(md)
	switch {
	case refused != nil:
	case h.Protocol != protocolVersion:
		refused = i.protocolMismatch(h)
	case h.Cluster != i.cluster:
		refused = i.clusterMismatch(h)
	case h.From == 0 || h.From == i.member:
		refused = &refusal{peerpb.Refusal_MEMBER, fmt.Sprintf(
			"two members have the same id %x: a data directory was copied, or a member was given its own address as another's", i.member)}
	case i.isRemoved(h.From):
		refused = &refusal{peerpb.Refusal_REMOVED, fmt.Sprintf(
			"member %x was removed from cluster %x; to come back it has to be added as a new member, with an empty --data-dir",
			h.From, i.cluster)}
	case h.To != i.member:
		refused = i.memberMismatch(h.To, i.member)
	}
	if refused != nil {
		return nil, refused
	}
	return h, nil
}

// reached checks the Hello of the answer: that a call reached the member that it was for.
func (i *identity) reached(md metadata.MD, to uint64) *refusal {
	h, refused := decodeHello(md)
	switch {
	case refused != nil:
		return refused
	case h.Protocol != protocolVersion:
		return i.protocolMismatch(h)
	case h.Cluster != i.cluster:
		return i.clusterMismatch(h)
	case h.From != to:
		return i.memberMismatch(to, h.From)
	}
	return nil
}

func (i *identity) protocolMismatch(h *peerpb.Hello) *refusal {
	return &refusal{peerpb.Refusal_PROTOCOL, fmt.Sprintf(
		"member %x speaks version %d of the protocol of members, and member %x version %d: update the older one",
		h.From, h.Protocol, i.member, protocolVersion)}
}

func (i *identity) clusterMismatch(h *peerpb.Hello) *refusal {
	return &refusal{peerpb.Refusal_CLUSTER, fmt.Sprintf(
		"cluster id mismatch: member %x is of cluster %x, and member %x of cluster %x; "+
			"compare their --initial-cluster and --initial-cluster-token, and look for a --data-dir of another cluster",
		h.From, h.Cluster, i.member, i.cluster)}
}

func (i *identity) memberMismatch(wanted, found uint64) *refusal {
	return &refusal{peerpb.Refusal_MEMBER, fmt.Sprintf(
		"wrong member at this address: member %x was called, and member %x is there", wanted, found)}
}
