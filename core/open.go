package core

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/triglot/triglot/raftlog"
	"github.com/triglot/triglot/storage"
)

// How a store starts: state, identity, log, and then the wait until it is worth asking.

// Open starts a store and returns when it is ready: there is a leader, and everything that was acknowledged before is
// applied here. Until there is a quorum it waits.
func Open(cfg Config) (*Store, error) {
	cfg.setDefaults()
	if cfg.LogDir != "" {
		var err error
		if cfg.LogDir, err = filepath.Abs(cfg.LogDir); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Store{
		cfg: cfg, logger: cfg.Logger, started: time.Now(), logStarted: make(chan struct{}), roster: newRoster(),
		tokens: newTokens(cfg.TokenTTL, cfg.NowMillis), measures: newMeasures(), hashing: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		waiting: newWaiters(cfg.RequestTimeout), changing: make(chan struct{}, 1), noting: make(chan struct{}, 1), ctx: ctx, stop: cancel, done: make(chan struct{}),
	}
	if err := s.open(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	flushed := make(chan struct{}, 1) // one note is enough: what is flushed is looked up
	db, err := storage.Open(storage.Options{
		Dir: filepath.Join(s.cfg.Dir, "state"), FS: s.cfg.FS, Logger: s.logger,
		CacheBytes: s.cfg.CacheBytes, RowCacheBytes: s.cfg.RowCacheBytes, MemtableBytes: s.cfg.MemtableBytes, EngineWAL: s.cfg.EngineWAL,
		OnFlush: func() { notify(flushed) }, Timed: s.measures.timed,
	})
	if err != nil {
		return err
	}
	s.db = db
	view := db.View()
	state := *view.State()
	s.views.set(view)
	s.shown.Store(state.Revision)
	s.auth.Store(authOf(&state))
	s.oldest.Store(state.Compacted)
	if err := s.interruptible(ctx, s.identify); err != nil {
		return err
	}
	s.loadMembers()
	s.alarms.load(db)
	if s.isRemoved(s.identity.Member) {
		return s.removedError()
	}
	s.hub = newHub(storedEvents{db}, state.Revision, HubOptions{EventsMax: s.cfg.RingEvents, BytesMax: s.cfg.RingBytes})
	s.lessor = newLessor(s.expireLeases)
	s.lessor.replace(db.Leases())
	s.reaper = newReaper(s)
	s.history = newHistorian(s)
	s.leadership = newLeadership(ctx, s.identity.Member)
	s.leadership.applies(state.AppliedTerm)
	s.leadership.add(duty{begin: s.lessor.lead, run: s.lessor.run, end: s.lessor.follow})
	s.leadership.add(duty{run: s.checkpointLeases})
	s.leadership.add(duty{run: s.reaper.run})
	s.leadership.add(duty{run: s.checkHashes})
	s.checks = newHashChecks(s.measures.stateHash, func(err error) { s.logger.Error("the state could not be hashed", "err", err) })
	s.own(ctx, s.checks.run)
	if err := s.startLog(&state); err != nil {
		return err
	}
	s.own(ctx, func(ctx context.Context) {
		select {
		case <-ctx.Done():
		case <-db.Failed():
			s.fatal(fmt.Errorf("core: the state engine failed: %w", db.Err()))
		}
	})
	s.own(ctx, s.history.run)
	s.own(ctx, func(ctx context.Context) { s.truncateLog(ctx, flushed) })
	if err := s.awaitReady(ctx); err != nil {
		return err
	}
	s.own(ctx, s.announce)
	return nil
}

func (s *Store) startLog(state *storage.State) error {
	machine := &machine{db: s.db, waiting: s.waiting, applied: s.applied, installed: s.installed, measures: s.measures, grants: &s.grants}
	cfg := raftlog.Config{
		Dir: logDir(s.cfg.Dir, s.cfg.LogDir), Name: s.cfg.Name,
		NodeID: s.identity.Member, ClusterID: s.identity.Cluster,
		Applied: state.AppliedIndex, StampMillis: state.StampMillis, Conf: state.Conf,
		Machine: machine, Transport: s.cfg.Transport, Snapshots: stateSnapshots{s}, Installed: installedMeta(s.db),
		NoSync: s.cfg.NoSync, OpenLog: s.cfg.OpenLog, NowMillis: s.cfg.NowMillis, Logger: s.logger,
		EntryBytesMax: s.cfg.CommandBytesMax, CatchUpBytes: s.cfg.CatchUpBytes,
		TickInterval: s.cfg.TickInterval, HeartbeatTicks: s.cfg.HeartbeatTicks, ElectionTicks: s.cfg.ElectionTicks,
		ProposalTimeout: s.cfg.RequestTimeout * 5 / 7, // so that what is certainly in no log is told before the rest times out
		OnLeader:        s.leadership.elected, Settle: s.waiting.settle, OnFatal: s.fatal,
		OnRemoved: func() { s.fatal(s.removedError()) },
		ServeCall: s.servePeer, Description: s.description, IsRemoved: s.isRemoved,
	}
	if s.cfg.ForceNewCluster {
		alone, err := s.alone()
		if err != nil {
			return err
		}
		cfg.Alone = alone
	}
	if state.AppliedIndex == 0 {
		var err error
		if cfg.Bootstrap, err = s.bootstrap(); err != nil {
			return err
		}
	}
	var err error
	if s.log, err = raftlog.Start(cfg); errors.Is(err, raftlog.ErrRemoved) {
		return s.removedError()
	} else if err != nil {
		return err
	}
	machine.origin.Store(s.log.Origin())
	close(s.logStarted)
	s.addressPeers()
	return nil
}

// ErrInterrupted is Open's answer when it was told to give up.
var ErrInterrupted = errors.New("core: interrupted while waiting for the other members")

// interruptible runs f with a context that also ends with Config.Interrupt.
func (s *Store) interruptible(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-s.cfg.Interrupt:
			cancel(ErrInterrupted)
		case <-ctx.Done():
		}
	}()
	err := f(ctx)
	if errors.Is(context.Cause(ctx), ErrInterrupted) {
		err = ErrInterrupted
	}
	cancel(nil)
	<-ended
	return err
}

// waitingEvery is how often Open says what it waits for.
const waitingEvery = 5 * time.Second

// awaitReady returns once there is a leader and this node has applied all that was acknowledged by then.
func (s *Store) awaitReady(ctx context.Context) error {
	return s.interruptible(ctx, func(ctx context.Context) error {
		ready := make(chan error, 1)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			index, err := s.log.ReadIndex(ctx)
			if err == nil {
				err = s.awaitApplied(ctx, index)
			}
			ready <- err
		}()
		ticker := time.NewTicker(waitingEvery)
		defer ticker.Stop()
		for {
			select {
			case err := <-ready:
				if s.Err() != nil {
					return s.Err()
				}
				return err
			case <-s.done:
				cancel()
				<-ready
				if s.err == nil {
					return ErrStopped
				}
				return s.err
			case <-ticker.C:
				reason := s.whyNotReady()
				s.logger.Info("the member is not ready yet", "because", reason)
				s.cfg.OnWaiting(reason)
			}
		}
	})
}

// whyNotReady says what Open waits for.
func (s *Store) whyNotReady() string {
	status := s.log.Status()
	var reached, missed []string
	for _, p := range s.Peers() {
		name := p.Name
		if name == "" {
			name = fmt.Sprintf("%x", p.ID)
		}
		if p.Connected {
			reached = append(reached, name)
		} else {
			missed = append(missed, name)
		}
	}
	others := fmt.Sprintf("reached: %s; not reached: %s", orNone(reached), orNone(missed))
	switch {
	case status.Leader == 0:
		return "it waits for a leader (" + others + ")"
	case status.Applied < status.Commit:
		return fmt.Sprintf("it applies the log, entry %d of %d", status.Applied, status.Commit)
	default:
		return "it waits for the leader's log (" + others + ")"
	}
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func (s *Store) removedError() error {
	return fmt.Errorf("%w: member %q (%x) was removed for good; to take this machine in again, remove the data directory %s and %s",
		ErrRemoved, s.identity.Name, s.identity.Member, s.cfg.Dir, addCommand(s.Self()))
}

// ErrRemoved says that this member was removed from its cluster.
var ErrRemoved = errors.New("core: the member is not part of the cluster any more")
