package raftlog

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// Sending snapshots. raft asks for one when a member needs entries that are not in memory any more. It never waits: without
// a snapshot at hand it asks again at the next heartbeat, and one is made meanwhile. All who need one share it. From its
// index on, and while it is being made, the log stays in memory until those who received it have got past it.

// senders is the raft goroutine's account of the snapshots that it makes and sends.
type senders struct {
	prepared *shared
	live     []*shared // not released: prepared, and what is still being sent
	making   bool
	makingAt uint64            // making: no entry after this is let go
	retryAt  uint64            // after a failure, the tick at which it is tried again
	sending  map[uint64]uint64 // by member: index of the snapshot on its way there
	pinned   map[uint64]uint64 // by member: index of the snapshot that it was sent, until its log is past it
}

// shared is a snapshot that some are being sent.
type shared struct {
	snapshot Snapshot
	meta     SnapshotMeta
	conf     *membership
	users    int
	idle     uint64 // the tick since when nobody uses it
}

// preparedSnapshot is what raft gets when it asks. It never waits.
func (d *driver) preparedSnapshot() (*raftpb.Snapshot, error) {
	s := &d.senders
	if p := s.prepared; p != nil && d.usable(p) {
		p.idle = d.ticks
		return &raftpb.Snapshot{
			// The receiver may become the leader: its stamps must not go back.
			Data: binary.LittleEndian.AppendUint64(nil, uint64(d.stampMillis)),
			Metadata: &raftpb.SnapshotMetadata{
				Index: new(p.meta.Index), Term: new(p.meta.Term), ConfState: p.conf.conf,
			},
		}, nil
	}
	d.makeSnapshot()
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}

// usable says whether the log continues the snapshot, and whether those who may need it find themselves in it: raft ignores
// a snapshot that does not have its receiver.
func (d *driver) usable(p *shared) bool {
	for id := range d.members.all {
		if !p.conf.all[id] {
			return false
		}
	}
	return p.meta.Index+1 >= d.memory.first
}

func (d *driver) makeSnapshot() {
	s := &d.senders
	if s.making || d.n.cfg.Snapshots == nil || d.ticks < s.retryAt {
		return
	}
	atLeast := d.n.status.applied.Load()
	s.making, s.makingAt = true, atLeast
	d.n.spawn(func() {
		snapshot, err := d.n.cfg.Snapshots.Create(d.n.alive, atLeast)
		if !d.n.asks.put(func(d *driver) { d.madeSnapshot(snapshot, err) }) {
			if err == nil {
				snapshot.Release()
			}
			return
		}
		d.n.call()
	})
}

func (d *driver) madeSnapshot(snapshot Snapshot, err error) {
	s := &d.senders
	s.making, s.retryAt = false, d.ticks+uint64(d.n.cfg.ElectionTicks)
	var conf *raftpb.ConfState
	if err == nil {
		conf, err = decodeConf(snapshot.Meta().Conf)
		if err != nil {
			snapshot.Release()
		}
	}
	if err != nil {
		d.n.cfg.Logger.Warn("a snapshot for another member could not be made", "error", err)
		return
	}
	s.drop()
	s.prepared = &shared{snapshot: snapshot, meta: snapshot.Meta(), conf: newMembership(conf, d.n.cfg.NodeID), idle: d.ticks}
	s.live = append(s.live, s.prepared)
}

// drop lets go of the prepared snapshot; who is being sent it keeps it until then.
func (s *senders) drop() {
	p := s.prepared
	s.prepared = nil
	s.release(p)
}

// release releases a snapshot unless somebody may still need it.
func (s *senders) release(p *shared) {
	if p != nil && p != s.prepared && p.users == 0 {
		s.live = slices.DeleteFunc(s.live, func(l *shared) bool { return l == p })
		p.snapshot.Release()
	}
}

// sendSnapshot sends a snapshot that raft has been given. Only one is on its way to a member.
func (d *driver) sendSnapshot(m *raftpb.Message) {
	s, to := &d.senders, m.GetTo()
	p := s.prepared
	_, busy := s.sending[to]
	if busy || p == nil || p.meta.Index != m.GetSnapshot().GetMetadata().GetIndex() || d.n.cfg.Transport == nil {
		d.rn.ReportSnapshot(to, raft.SnapshotFailure) // raft asks again
		return
	}
	if s.sending == nil {
		s.sending = map[uint64]uint64{}
	}
	s.sending[to], s.pinned[to] = p.meta.Index, p.meta.Index
	p.users++
	d.n.cfg.Transport.SendSnapshot(m, p.snapshot, func(err error) {
		d.n.ask(func(d *driver) { d.sentSnapshot(to, p, err) })
	})
}

func (d *driver) sentSnapshot(to uint64, p *shared, err error) {
	s := &d.senders
	delete(s.sending, to)
	p.users--
	p.idle = d.ticks
	s.release(p)
	if err != nil {
		delete(s.pinned, to)
		d.n.status.snapshotsFailed.Add(1)
		d.n.cfg.Logger.Warn("a snapshot was not sent", "to", to, "index", p.meta.Index, "error", err)
		d.rn.ReportSnapshot(to, raft.SnapshotFailure)
		return
	}
	d.n.status.snapshotsSent.Add(1)
	d.rn.ReportSnapshot(to, raft.SnapshotFinish)
}

// isIdle reports whether no snapshot is made, kept or sent.
func (s *senders) isIdle() bool {
	return s.prepared == nil && len(s.live) == 0 && !s.making && len(s.sending) == 0
}

// tick lets go of what nobody needs any more.
func (s *senders) tick(d *driver) {
	if p := s.prepared; p != nil && p.users == 0 && p.idle+uint64(4*d.n.cfg.ElectionTicks) <= d.ticks {
		s.drop()
	}
	if len(s.pinned) == 0 {
		return
	}
	progress := d.progress()
	for _, to := range slices.Sorted(maps.Keys(s.pinned)) {
		if p, ok := progress[to]; !ok || p.Match >= s.pinned[to] {
			delete(s.pinned, to)
		}
	}
}

// floor is the index up to which the log is not needed for anyone who is being sent a snapshot.
func (s *senders) floor() uint64 {
	floor := uint64(math.MaxUint64)
	if s.making {
		floor = s.makingAt
	}
	if s.prepared != nil {
		floor = min(floor, s.prepared.meta.Index)
	}
	for _, index := range s.pinned {
		floor = min(floor, index)
	}
	return floor
}

// close gives everything up. The transport uses nothing of it any more.
func (s *senders) close() {
	for _, p := range s.live {
		p.snapshot.Release()
	}
	s.live, s.prepared = nil, nil
}
