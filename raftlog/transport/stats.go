package transport

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// PeerStats is what went to and came from a member since this transport began. Bytes are those of payloads and the
// messages around them, without what framing, TLS and TCP add.
type PeerStats struct {
	ID        uint64
	Connected bool          // as Contact has it
	RoundTrip time.Duration // of the last ping; 0 before the first

	SentBytes, ReceivedBytes       uint64 // of messages and questions; of snapshots see below
	SentMessages, ReceivedMessages uint64
	DroppedMessages                uint64 // could not be sent: too many waited, or the member was out of reach

	SnapshotSentBytes, SnapshotReceivedBytes uint64
	SnapshotsSent, SnapshotsReceived         uint64 // to their end
	SnapshotsSendFailed                      uint64 // given up
	SnapshotsReceiveFailed                   uint64 // ended without an end: what was there of it is continued with

	RoundTrips Histogram
}

// Histogram counts durations by their size.
type Histogram struct {
	BoundsSeconds []float64 // upper bounds, the last bucket's left out
	Counts        []uint64  // one more than bounds
	SumSeconds    float64
}

// roundTripBuckets has the bounds of etcd's peer_round_trip_time_seconds: 0.1 ms, doubled fifteen times.
const roundTripBuckets = 16

// counts is one member's numbers.
type counts struct {
	sentBytes, receivedBytes                                                      atomic.Uint64
	sentMessages, receivedMessages, dropped                                       atomic.Uint64
	snapshotSentBytes, snapshotReceivedBytes                                      atomic.Uint64
	snapshotsSent, snapshotsReceived, snapshotsSendFailed, snapshotsReceiveFailed atomic.Uint64
	roundTrips                                                                    histogram
}

type histogram struct {
	counts [roundTripBuckets + 1]atomic.Uint64
	nanos  atomic.Int64
}

func (h *histogram) observe(d time.Duration) {
	bucket, bound := 0, 100*time.Microsecond
	for bucket < roundTripBuckets && d > bound {
		bucket, bound = bucket+1, 2*bound
	}
	h.counts[bucket].Add(1)
	h.nanos.Add(int64(d))
}

func (h *histogram) read() Histogram {
	out := Histogram{SumSeconds: time.Duration(h.nanos.Load()).Seconds()}
	bound := 0.0001
	for i := range h.counts {
		out.Counts = append(out.Counts, h.counts[i].Load())
		if i < roundTripBuckets {
			out.BoundsSeconds = append(out.BoundsSeconds, bound)
			bound *= 2
		}
	}
	return out
}

// countsMax bounds the members that numbers are kept of. Ids come from the other side, and one that is in no address book
// may be made up.
const countsMax = 1024

// countsByMember keeps the numbers of members that come and go.
type countsByMember struct {
	mu sync.Mutex // guards what follows
	m  map[uint64]*counts
}

func (c *countsByMember) of(id uint64) *counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := c.m[id]
	if found == nil {
		found = &counts{}
		if c.m == nil {
			c.m = map[uint64]*counts{}
		}
		if len(c.m) < countsMax {
			c.m[id] = found
		}
	}
	return found
}

// Stats lists the members of the address book, and guests, by id.
func (t *Transport) Stats() []PeerStats {
	var out []PeerStats
	for id, p := range *t.peers.Load() {
		contact, c := p.contact(), p.counts
		out = append(out, PeerStats{
			ID: id, Connected: contact.Connected, RoundTrip: contact.RoundTrip,
			SentBytes: c.sentBytes.Load(), ReceivedBytes: c.receivedBytes.Load(),
			SentMessages: c.sentMessages.Load(), ReceivedMessages: c.receivedMessages.Load(), DroppedMessages: c.dropped.Load(),
			SnapshotSentBytes: c.snapshotSentBytes.Load(), SnapshotReceivedBytes: c.snapshotReceivedBytes.Load(),
			SnapshotsSent: c.snapshotsSent.Load(), SnapshotsReceived: c.snapshotsReceived.Load(),
			SnapshotsSendFailed: c.snapshotsSendFailed.Load(), SnapshotsReceiveFailed: c.snapshotsReceiveFailed.Load(),
			RoundTrips: c.roundTrips.read(),
		})
	}
	slices.SortFunc(out, func(a, b PeerStats) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return out
}
