package transport

import (
	"errors"
	"fmt"

	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

// protocolVersion is that of peer.proto. Members of different versions of the program may talk to each other as long as
// this is the same.
const protocolVersion = 2

// refusal is why two members do not talk. Whoever finds it says it in the same words to its own operator and to the
// other side.
type refusal struct {
	reason peerpb.Refusal_Reason
	words  string
}

func (r *refusal) Error() string { return r.words }

// refusalOf finds the refusal in an error; nil if it is another error.
func refusalOf(err error) *refusal {
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	return nil
}

// identity is who this member is, and whom it has to refuse.
type identity struct {
	cluster, member uint64
	urls            []string // where it is found
	isRemoved       func(member uint64) bool
}

func (i *identity) hello(to uint64) *peerpb.Hello {
	return &peerpb.Hello{Protocol: protocolVersion, Cluster: i.cluster, From: i.member, To: to, Urls: i.urls}
}

// admit checks the Hello of a call to this member.
func (i *identity) admit(h *peerpb.Hello) *refusal {
	switch {
	case h.GetProtocol() != protocolVersion:
		return i.protocolMismatch(h)
	case h.Cluster != i.cluster:
		return i.clusterMismatch(h)
	case h.From == 0 || h.From == i.member:
		return &refusal{peerpb.Refusal_MEMBER, fmt.Sprintf(
			"two members have the same id %x: a data directory was copied, or a member was given its own address as another's", i.member)}
	case i.isRemoved(h.From):
		return &refusal{peerpb.Refusal_REMOVED, fmt.Sprintf(
			"member %x was removed from cluster %x; to come back it has to be added as a new member, with an empty --data-dir",
			h.From, i.cluster)}
	case h.To != i.member:
		return i.memberMismatch(h.To, i.member)
	}
	return nil
}

// reached checks the Hello of the answer: that a call reached the member that it was for.
func (i *identity) reached(h *peerpb.Hello, to uint64) *refusal {
	switch {
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
		h.GetFrom(), h.GetProtocol(), i.member, protocolVersion)}
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
