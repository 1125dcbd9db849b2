package transport

import (
	"fmt"
	"sync/atomic"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/triglot/triglot/raftlog"
)

// BenchmarkBulk measures how fast entries get from one member to another over loopback: messages of one entry each, as
// many on their way as raft lets be.
func BenchmarkBulk(b *testing.B) {
	for _, size := range []int{200, 16 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			inFlight := min(128, 32<<20/size)
			room := make(chan struct{}, inFlight)
			from, to := pair(b, Options{})
			to.node.receive = func(messages []*raftpb.Message) {
				for range messages {
					<-room
				}
			}
			message := []*raftpb.Message{app(1, 2, 1, make([]byte, size))}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				room <- struct{}{}
				from.Send(message)
			}
			for range inFlight {
				room <- struct{}{} // all have arrived
			}
		})
	}
}

// BenchmarkUrgentRoundTrip is a heartbeat and its answer.
func BenchmarkUrgentRoundTrip(b *testing.B) {
	from, to := pair(b, Options{})
	to.log.await(b, "connected to member", 1)
	answer := []*raftpb.Message{message(raftpb.MsgHeartbeatResp, 2, 1, 1)}
	to.node.receive = func([]*raftpb.Message) { to.Send(answer) }
	beat := []*raftpb.Message{message(raftpb.MsgHeartbeat, 1, 2, 1)}
	b.ReportAllocs()
	for b.Loop() {
		from.Send(beat)
		<-from.node.received
	}
}

// BenchmarkSnapshot sends snapshots of 64 MiB to a receiver that keeps nothing.
func BenchmarkSnapshot(b *testing.B) {
	from, to := pair(b, Options{})
	s := newState(1, 64<<20)
	to.node.receiveSnapshot = func(*raftpb.Message, []raftlog.SnapshotFile) (raftlog.Incoming, error) { return &sink{}, nil }
	b.SetBytes(64 << 20)
	b.ReportAllocs()
	for b.Loop() {
		done := make(chan error)
		from.SendSnapshot(snap(1, 2, 7), s, func(err error) { done <- err })
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		<-to.node.received
	}
}

type sink struct{ have atomic.Int64 }

func (s *sink) Have(string) int64                       { return s.have.Load() }
func (s *sink) Write(_ string, _ int64, b []byte) error { s.have.Add(int64(len(b))); return nil }
func (s *sink) Finish() error                           { return nil }
func (s *sink) Close() error                            { return nil }
