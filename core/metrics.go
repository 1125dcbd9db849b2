package core

import (
	"sync/atomic"
	"time"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/raftlog"
	"github.com/triglot/triglot/storage"
)

// Metrics are counts since the start, and present amounts.
type Metrics struct {
	raftlog.Metrics
	Installing    bool      // a snapshot is about to replace the state
	Commit        Histogram // of steps written to the state engine
	Applies       []CommandTimes
	SlowApplies   uint64 // commands that took longer than applySlow
	LeasesExpired uint64 // by this node, while it led
	LeasesRenewed uint64 // likewise
	LeasesGranted uint64 // sessions too, as this node applied it
	LeasesEnded   uint64 // likewise
	LeaseTTLs     Histogram
	KeysReaped    uint64 // past their deadline, by this node, while it led
	Puts, Deletes uint64 // of keys of the shared space, as this node applied them
	PutBytes      uint64 // keys and values of those puts
	Promotions    uint64 // of learners, that this node was asked for and that were made
	Defragment    Histogram
	Defragmenting int64     // calls that are running
	Backup        Histogram // of backups that were written whole
	StateHash     Histogram // of the whole state, for the comparison of the members
	HashAt        Histogram // of the keyspace at a revision
	Receive       Histogram // of snapshots of other members, from their beginning until they are whole and on disk
	Purge         Histogram // of what compactions made garbage
	PurgeStep     Histogram // of the pieces of it, between which others write
	PurgedAt      time.Time // the last one's end; zero before the first
	ReceiveSync   Histogram // of the files of snapshots of other members
	AuthRevision  uint64
	Watching      HubStats
	Storage       storage.Metrics
}

// Metrics is cheap enough to be asked for every second.
func (s *Store) Metrics() Metrics {
	m := s.measures
	return Metrics{
		Metrics: s.log.Metrics(), Installing: s.log.Status().Installing, Commit: m.commit.Histogram(),
		Applies: m.applies.List(), SlowApplies: m.slowApplies.Load(),
		LeasesExpired: s.leasesExpired.Load(), LeasesRenewed: s.lessor.renewals.Load(),
		LeasesGranted: m.leasesGranted.Load(), LeasesEnded: m.leasesEnded.Load(), LeaseTTLs: m.leaseTTL.Histogram(),
		KeysReaped: s.reaper.removed.Load(),
		Puts:       m.puts.Load(), Deletes: m.deletes.Load(), PutBytes: m.putBytes.Load(), Promotions: m.promotions.Load(),
		Defragment: m.defragment.Histogram(), Defragmenting: m.defragmenting.Load(),
		Backup: m.backup.Histogram(), StateHash: m.stateHash.Histogram(), HashAt: m.hashAt.Histogram(),
		Receive: m.receive.Histogram(), ReceiveSync: m.receiveSync.Histogram(),
		Purge: m.purge.Histogram(), PurgeStep: m.purgeStep.Histogram(), PurgedAt: m.lastPurge(),
		AuthRevision: s.auth.Load() >> 1,
		Watching:     s.hub.Stats(), Storage: s.db.Metrics(),
	}
}

// measures are the store's own counts. The bounds of the times are those of etcd's metrics of the same things.
type measures struct {
	applies *ByCommand

	commit, leaseTTL, defragment, backup, stateHash, hashAt, purge, purgeStep, receive, receiveSync *Durations

	puts, deletes, putBytes, slowApplies, leasesGranted, leasesEnded, promotions atomic.Uint64
	defragmenting                                                                atomic.Int64
	purgedAt                                                                     atomic.Int64 // nanoseconds since 1970; 0 = never
}

func newMeasures() *measures {
	return &measures{
		applies: NewByCommand(100*time.Microsecond, 20),
		commit:  NewDurations(time.Millisecond, 14), leaseTTL: NewDurations(time.Second, 24),
		defragment: NewDurations(100*time.Millisecond, 13), backup: NewDurations(10*time.Millisecond, 17),
		stateHash: NewDurations(10*time.Millisecond, 15), hashAt: NewDurations(10*time.Millisecond, 15),
		purge: NewDurations(100*time.Millisecond, 14), purgeStep: NewDurations(time.Millisecond, 13),
		receive: NewDurations(100*time.Millisecond, 10), receiveSync: NewDurations(time.Millisecond, 14),
	}
}

// applySlow is how long a command may take before it counts as slow: etcd's default for the same.
const applySlow = 100 * time.Millisecond

// applied counts a command.
func (m *measures) applied(txn *corepb.Txn, ok bool, took time.Duration) {
	m.applies.Add(txn, ok, took)
	if took > applySlow {
		m.slowApplies.Add(1)
	}
}

// timed is told by storage how long a piece of its work took.
func (m *measures) timed(work storage.Work, took time.Duration) {
	switch work {
	case storage.WorkPurgeStep:
		m.purgeStep.Add(took)
	case storage.WorkReceiveSync:
		m.receiveSync.Add(took)
	}
}

func (m *measures) lastPurge() time.Time {
	if at := m.purgedAt.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// count counts what a step did: to the shared space, and to leases.
func (m *measures) count(step *step) {
	puts, deletes, bytes := uint64(0), uint64(0), uint64(0)
	for _, e := range step.events {
		switch {
		case e.Space != 0:
		case e.Type == storage.EventPut:
			puts++
			bytes += uint64(len(e.Key) + len(e.Record.Value))
		case e.Type == storage.EventDelete:
			deletes++
		}
	}
	m.puts.Add(puts)
	m.putBytes.Add(bytes)
	m.deletes.Add(deletes)
	for _, lease := range step.leases {
		switch {
		case lease.checkpoint:
		case lease.ttlMillis == 0:
			m.leasesEnded.Add(1)
		case !lease.resumed:
			m.leasesGranted.Add(1)
			m.leaseTTL.AddSeconds(float64(lease.ttlMillis) / 1000)
		}
	}
}
