package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/raftlog"
	"github.com/triglot/triglot/storage"
)

// Config says where a store lives and how much it may use. Zero values mean the defaults given with each field.
type Config struct {
	Dir  string // holds state/ and log/
	Name string // of this member

	FS        vfs.FS          // of the state engine; nil = the operating system's
	OpenLog   raftlog.OpenLog // nil = segmented files under Dir
	NowMillis func() int64    // Unix milliseconds; nil = the system clock

	HistoryAge   time.Duration // history older than this is compacted; 0 = one hour, negative = kept
	HistoryBytes int64         // history beyond this is compacted; 0 = 1 GiB, negative = no bound

	CommandBytesMax int // size of one command in the log; 0 = 2 MiB and some slack

	CacheBytes    int64 // block cache; 0 = storage's default
	MemtableBytes int64 // 0 = storage's default
	EngineWAL     bool  // state engine with a write-ahead log of its own

	RingEvents int   // events kept in memory for watches; 0 = the hub's default
	RingBytes  int64 // their size; 0 = the hub's default

	Logger *slog.Logger // nil = slog.Default
}

// commandBytesMaxDefault holds what gRPC accepts for an etcd request of the default size, 1.5 MiB and 512 KiB, as a command.
const commandBytesMaxDefault = 2<<20 + 64<<10

// Store is one node's replica of the keyspace, with everything that follows it: watches, leases, deadlines, compaction.
// Its methods may be called from any goroutine.
type Store struct {
	cfg      Config
	logger   *slog.Logger
	identity identity
	started  time.Time

	db    *storage.DB
	log   *raftlog.Node
	hub   *Hub
	shown atomic.Int64 // revision that the hub has published and readers may see

	leaseEnds leaseEnds
	waiting   *waiters
	lessor    *lessor
	views     views
	reaper    *reaper
	history   *historian

	stop     context.CancelFunc
	owned    sync.WaitGroup // the goroutines that Open started
	done     chan struct{}  // closed when the store can serve no more
	doneOnce sync.Once
	err      error // why; set before done closes
}

// Open starts a store and returns when it is ready: its log is replayed and it can order commands.
func Open(cfg Config) (*Store, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.FS == nil {
		cfg.FS = vfs.Default
	}
	if cfg.NowMillis == nil {
		cfg.NowMillis = func() int64 { return time.Now().UnixMilli() }
	}
	if cfg.CommandBytesMax == 0 {
		cfg.CommandBytesMax = commandBytesMaxDefault
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Store{
		cfg: cfg, logger: cfg.Logger, started: time.Now(),
		waiting: newWaiters(), stop: cancel, done: make(chan struct{}),
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
		CacheBytes: s.cfg.CacheBytes, MemtableBytes: s.cfg.MemtableBytes, EngineWAL: s.cfg.EngineWAL,
		OnFlush: func() { notify(flushed) },
	})
	if err != nil {
		return err
	}
	s.db = db
	view := db.View()
	state := *view.State()
	s.views.set(view)
	s.shown.Store(state.Revision)
	if s.identity, err = loadIdentity(s.cfg.FS, s.cfg.Dir, s.cfg.Name); err != nil {
		return err
	}
	s.hub = newHub(storedEvents{db}, state.Revision, HubOptions{EventsMax: s.cfg.RingEvents, BytesMax: s.cfg.RingBytes})
	s.lessor = newLessor(s.expireLeases)
	for lease := range db.Leases().All() {
		s.lessor.grant(lease.ID, lease.TTLMillis)
	}
	s.reaper = newReaper(s)
	s.history = newHistorian(s)

	machine := &machine{db: db, waiting: s.waiting, applied: s.applied}
	s.log, err = raftlog.Start(raftlog.Config{
		Dir: filepath.Join(s.cfg.Dir, "log"), Name: s.cfg.Name,
		NodeID: s.identity.Member, ClusterID: s.identity.Cluster, Applied: state.AppliedIndex, StampMillis: state.StampMillis,
		Machine: machine, OpenLog: s.cfg.OpenLog, NowMillis: s.cfg.NowMillis, Logger: s.logger,
		EntryBytesMax: s.cfg.CommandBytesMax, OnFatal: s.fatal,
	})
	if err != nil {
		return err
	}
	machine.origin.Store(s.log.Origin())
	select {
	case <-s.log.Ready():
	case <-s.log.Done():
		return fmt.Errorf("core: the log stopped while starting: %w", s.log.Err())
	}
	s.lessor.renewAll()
	s.own(ctx, func(ctx context.Context) {
		select {
		case <-ctx.Done():
		case <-db.Failed():
			s.fatal(fmt.Errorf("core: the state engine failed: %w", db.Err()))
		}
	})
	s.own(ctx, s.lessor.run)
	s.own(ctx, s.reaper.run)
	s.own(ctx, s.history.run)
	s.own(ctx, func(ctx context.Context) { s.truncateLog(ctx, flushed) })
	return nil
}

// own runs a goroutine until the store closes.
func (s *Store) own(ctx context.Context, run func(context.Context)) {
	s.owned.Add(1)
	go func() {
		defer s.owned.Done()
		run(ctx)
	}()
}

// fatal is called once when the log or the state can no longer be written. Nothing is acknowledged after it.
func (s *Store) fatal(err error) {
	s.logger.Error("the store has stopped", "err", err)
	s.finish(err)
}

func (s *Store) finish(err error) {
	s.doneOnce.Do(func() {
		s.err = err
		s.waiting.close(&Error{Code: CodeUnknownFate, Detail: "the node stopped"}, ErrStopped)
		close(s.done)
	})
}

// Done is closed when the store can serve no more: it was closed, or it failed.
func (s *Store) Done() <-chan struct{} { return s.done }

// Err says why the store failed, nil when it was closed. It is to be called after Done.
func (s *Store) Err() error { return s.err }

// Close stops everything and flushes the state, so that the next start has nothing to replay.
func (s *Store) Close() error {
	s.stop()
	s.finish(nil)
	s.owned.Wait()
	var errs []error
	if s.log != nil {
		errs = append(errs, s.log.Stop())
	}
	if s.hub != nil {
		s.hub.Close()
	}
	s.views.set(nil)
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	return errors.Join(errs...)
}

// applied publishes what a step did. It runs on the apply goroutine, before any proposer of the step has its answer.
// The order matters: events are in the hub before a view shows what they tell.
func (s *Store) applied(step *step) {
	s.hub.Publish(step.events, step.revision)
	var ended []int64
	for _, lease := range step.leases {
		if lease.ttlMillis != 0 {
			s.lessor.grant(lease.id, lease.ttlMillis)
		} else {
			s.lessor.remove(lease.id)
			ended = append(ended, lease.id)
		}
	}
	s.shown.Store(step.revision)
	s.views.set(s.db.View())
	s.history.supersede(step.superseded)
	s.leaseEnds.tell(ended)
	if step.deadline != 0 {
		s.reaper.expect(step.deadline)
	}
	if step.compacted {
		s.history.purge()
	}
}

// Do runs one command. A command of reads alone is answered from a linearizable view; the others go through the log.
// The error is about the command's fate; what the command itself answers, errors included, is in the result.
func (s *Store) Do(ctx context.Context, txn *corepb.Txn) (*TxnResult, error) {
	if readOnly(txn) {
		view, err := s.View(ctx, Linearizable)
		if err != nil {
			return nil, err
		}
		defer view.Close()
		return view.Do(txn)
	}
	results, err := s.Submit(ctx, txn).Wait(ctx)
	if err != nil {
		return nil, err
	}
	return results[0], nil
}

// Submit hands a group of commands to the log, in order and without waiting. Groups that one goroutine submits keep
// their order. Everything in the commands must stay as it is until the results are there.
func (s *Store) Submit(ctx context.Context, txns ...*corepb.Txn) *Pending {
	p := newPending(len(txns))
	if len(txns) == 0 {
		p.fail(nil)
		return p
	}
	proposals := make([]raftlog.Proposal, len(txns))
	for i, txn := range txns {
		payload, err := txn.MarshalVT()
		if err != nil {
			p.fail(&Error{Code: CodeBadArguments, Detail: err.Error()})
			return p
		}
		proposals[i].Payload = payload
	}
	if err := s.waiting.enter(p); err != nil {
		p.fail(err)
		return p
	}
	for i := range proposals {
		proposals[i].Seq = p.first + uint64(i)
	}
	if err := s.log.ProposeAll(ctx, proposals); err != nil {
		s.waiting.forget(p)
		p.fail(refusal(err))
	}
	return p
}

// refusal translates why the log did not take a proposal.
func refusal(err error) error {
	switch {
	case errors.Is(err, raftlog.ErrStopped):
		return ErrStopped
	case errors.Is(err, raftlog.ErrOverloaded):
		return ErrOverloaded
	case errors.Is(err, raftlog.ErrTooLarge):
		return &Error{Code: CodeTooLarge, Detail: err.Error()}
	}
	return &Error{Code: CodeOverloaded, Detail: err.Error()}
}

// truncateLog lets the log go as far as the state engine has written everything to disk.
func (s *Store) truncateLog(ctx context.Context, flushed <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-flushed:
		}
		index, err := s.db.DurableApplied()
		if err == nil {
			err = s.log.Truncate(index)
		}
		if err != nil && ctx.Err() == nil {
			s.logger.Warn("the log could not be truncated", "err", err)
		}
	}
}

// Hub gives the store's watches.
func (s *Store) Hub() *Hub { return s.hub }

// NewLeaseID gives a positive number that is most likely no lease's yet.
func (s *Store) NewLeaseID() int64 { return rand.Int64N(1<<62) + 1 }

// notify leaves a note in a channel of capacity one.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
