package core

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/raftlog"
	"github.com/triglot/triglot/storage"
)

// Store is one node's replica of the keyspace, with everything that follows it: members, watches, leases, deadlines,
// compaction. Its methods may be called from any goroutine.
type Store struct {
	cfg      Config
	logger   *slog.Logger
	identity identity
	started  time.Time

	db         *storage.DB
	log        *raftlog.Node
	logStarted chan struct{} // closed when log is set; what the log calls may be called before
	hub        *Hub
	shown      atomic.Int64 // revision that the hub has published and readers may see
	roster     *roster
	alarms     alarms
	leadership *leadership

	leaseEnds     leaseEnds
	sessionMoves  sessionMoves
	waiting       *waiters
	lessor        *lessor
	leasesExpired atomic.Uint64
	keeper        keeper
	grants        grantCache
	auth          atomic.Uint64 // whether authentication is on, and its revision, as readers see it: see authOf
	oldest        atomic.Int64  // State.Compacted, as of the last step
	tokens        *tokens
	hashing       chan struct{} // room for those who check passwords
	views         views
	reaper        *reaper
	history       *historian
	checks        *hashChecks
	measures      *measures
	noting        chan struct{} // capacity 1: holds whoever decides on notes of leases until they are queued, or takes them back
	changing      chan struct{} // capacity 1: holds whoever changes the members, as the leader

	ctx      context.Context // ends when the store closes
	stop     context.CancelFunc
	owned    sync.WaitGroup // the goroutines that Open started
	done     chan struct{}  // closed when the store can serve no more
	doneOnce sync.Once
	err      error // why; set before done closes
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
func (s *Store) fatal(err error) { s.finish(err) }

func (s *Store) finish(err error) {
	s.doneOnce.Do(func() {
		if err != nil {
			s.logger.Error("the store has stopped", "err", err)
		}
		s.err = err
		close(s.done)
		s.waiting.close(&Error{Code: CodeUnknownFate, Detail: "the node stopped"}, ErrStopped)
	})
}

// Done is closed when the store can serve no more: it was closed, or it failed.
func (s *Store) Done() <-chan struct{} { return s.done }

// Err says why the store failed, nil when it was closed or goes on.
func (s *Store) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// leaveWait bounds how long Close tries to hand over the leadership.
const leaveWait = 3 * time.Second

// Close hands over the leadership, stops everything and flushes the state, so that the next start has nothing to replay.
func (s *Store) Close() error {
	if s.log != nil && s.Err() == nil && len(s.Members()) > 1 {
		ctx, cancel := context.WithTimeout(context.Background(), leaveWait)
		s.log.Leave(ctx)
		cancel()
	}
	s.stop()
	s.finish(nil)
	s.keeper.close()
	if s.leadership != nil {
		s.leadership.stop()
	}
	s.owned.Wait()
	var errs []error
	if s.log != nil {
		if err := s.log.Stop(); !errors.Is(err, raftlog.ErrRemoved) {
			errs = append(errs, err)
		}
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
	s.measures.count(step)
	s.hub.Publish(step.events, step.revision)
	var ended []int64
	for _, lease := range step.leases {
		switch {
		case lease.checkpoint:
			s.lessor.checkpoint(lease)
		case lease.ttlMillis != 0:
			s.lessor.grant(lease)
		default:
			s.lessor.remove(lease.id)
			ended = append(ended, lease.id)
		}
	}
	if step.members {
		s.loadMembers()
	}
	if step.alarms {
		s.alarms.load(s.db)
	}
	s.tokens.follow(step.logins)
	s.auth.Store(step.auth)
	s.oldest.Store(step.oldest)
	s.shown.Store(step.revision)
	s.views.set(s.db.View())
	s.leadership.applies(step.term)
	s.history.supersede(step.superseded)
	s.leaseEnds.tell(ended)
	s.sessionMoves.tell(step.moves)
	if step.deadline != 0 {
		s.reaper.expect(step.deadline)
	}
	if step.compacted {
		s.history.purge()
	}
	if step.hashCheck != 0 {
		s.checks.begin(step.hashCheck, s.db.View())
	}
}

// stateReplaced brings up what follows the state, after a snapshot has replaced it and readers have its view. It runs on
// the apply goroutine.
func (s *Store) stateReplaced(view *storage.View) {
	s.tokens.follow([]loginChange{{}}) // who has changed their password meanwhile cannot be told
	s.auth.Store(authOf(view.State()))
	s.oldest.Store(view.State().Compacted)
	s.loadMembers()
	s.leadership.applies(view.State().AppliedTerm)
	s.reaper.expect(1) // whatever is the soonest deadline now
	s.history.supersede(view.State().SupersededBytes)
	s.history.purge()
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
		view.As(txn.Caller)
		return view.Do(txn)
	}
	results, err := s.Submit(ctx, txn).Wait(ctx)
	if err != nil {
		return nil, err
	}
	return results[0], nil
}

// Submit hands a group of commands to the log, in order and without waiting. Groups that one goroutine submits keep
// their order. Nothing of the commands is kept: they are the caller's again when Submit returns.
func (s *Store) Submit(ctx context.Context, txns ...*corepb.Txn) *Pending {
	if len(txns) == 0 {
		p := newPending(0)
		p.fail(nil)
		return p
	}
	own := 0
	if s.overQuota(txns) {
		own, txns = 1, append([]*corepb.Txn{s.noSpaceAlarm()}, txns...)
	}
	p := newPending(len(txns))
	p.own = own
	e := encodings.Get().(*encoding)
	defer e.giveBack()
	if err := e.encode(txns); err != nil {
		p.fail(&Error{Code: CodeBadArguments, Detail: err.Error()})
		return p
	}
	proposals := e.proposals
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

// encoding is a group of commands on their way into the log, which copies them.
type encoding struct {
	proposals []raftlog.Proposal
	bytes     []byte
	sizes     []int
}

var encodings = sync.Pool{New: func() any { return &encoding{} }}

const encodingBytesMax = 64 << 10 // larger ones are not kept

func (e *encoding) encode(txns []*corepb.Txn) error {
	size := 0
	for _, txn := range txns {
		n := txn.SizeVT()
		e.sizes = append(e.sizes, n)
		size += n
	}
	e.bytes = slices.Grow(e.bytes, size)[:size]
	rest := e.bytes
	for i, txn := range txns {
		payload := rest[:e.sizes[i]]
		if _, err := txn.MarshalToSizedBufferVT(payload); err != nil {
			return err
		}
		e.proposals = append(e.proposals, raftlog.Proposal{Payload: payload})
		rest = rest[len(payload):]
	}
	return nil
}

func (e *encoding) giveBack() {
	if cap(e.bytes) > encodingBytesMax {
		return
	}
	clear(e.proposals)
	e.proposals, e.bytes, e.sizes = e.proposals[:0], e.bytes[:0], e.sizes[:0]
	encodings.Put(e)
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
