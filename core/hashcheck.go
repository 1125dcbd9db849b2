package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// Replicas that have come apart, through a fault of a disk, of memory or of this program, answer differently and nobody
// notices. So now and then the leader puts a HashCheck into the log. Every member, when it has applied that very entry,
// takes hold of the state and hashes it in the background. The leader asks all of them for what came out and raises the
// CORRUPT alarm for those that differ from the majority.

const (
	hashCheckIntervalDefault = time.Hour
	// hashBytesPerSecond leaves disk and processor to those who work: 100 GB take half an hour.
	hashBytesPerSecond = 64 << 20
	// hashChecksKept is how many outcomes are kept for a leader that asks late.
	hashChecksKept = 4
	// hashAskRetry is how long the leader waits before it asks a member again that had no outcome yet or did not answer.
	hashAskRetry = 5 * time.Second
	// hashGrace is how long the others have, at the least, when the leader itself is done. Otherwise it is as long again as
	// the leader took.
	hashGrace = 30 * time.Second
)

func (t *tx) hashCheckOp(op *corepb.HashCheck, out *Result) {
	t.hashCheck = op.Id
	out.OK = op.Id != 0
}

// hashChecks hashes states, one at a time.
type hashChecks struct {
	limit  *rate.Limiter
	took   *Durations
	failed func(error)
	wake   chan struct{} // capacity 1: there is a pending check

	mu      sync.Mutex // guards the fields below
	pending *hashCheck
	known   []*hashCheck // the newest last
	last    time.Time    // when the last one began, or the store
	closed  bool
}

type hashCheck struct {
	id   uint64
	view *storage.View // taken over; of exactly the index of the entry
	done chan struct{} // closed when the fields below are set
	hash uint64
	err  error
}

func newHashChecks(took *Durations, failed func(error)) *hashChecks {
	return &hashChecks{limit: newHashLimit(), took: took, failed: failed, wake: make(chan struct{}, 1), last: time.Now()}
}

func newHashLimit() *rate.Limiter { return rate.NewLimiter(hashBytesPerSecond, hashBytesPerSecond/8) }

// paced holds a hash back to a rate.
func paced(ctx context.Context, limit *rate.Limiter) storage.Pace {
	return func(bytes int) error {
		for bytes > 0 {
			n := min(bytes, limit.Burst())
			if err := limit.WaitN(ctx, n); err != nil {
				return err
			}
			bytes -= n
		}
		return nil
	}
}

// begin has the state of a view hashed, which it takes over. It runs on the apply goroutine and does not wait. A check
// that has not begun yet is dropped for a later one.
func (h *hashChecks) begin(id uint64, view *storage.View) {
	check := &hashCheck{id: id, view: view, done: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		view.Release()
		return
	}
	if h.pending != nil {
		h.pending.end(0, errors.New("another check came before this one had begun"))
	}
	h.pending, h.last = check, time.Now()
	h.known = append(h.known, check)
	if len(h.known) > hashChecksKept {
		h.known = slices.Delete(h.known, 0, 1)
	}
	notify(h.wake)
}

func (c *hashCheck) end(hash uint64, err error) {
	c.hash, c.err = hash, err
	c.view.Release()
	close(c.done)
}

func (h *hashChecks) run(ctx context.Context) {
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.closed = true
		if h.pending != nil {
			h.pending.end(0, ErrStopped)
			h.pending = nil
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		}
		h.mu.Lock()
		check := h.pending
		h.pending = nil
		h.mu.Unlock()
		if check == nil {
			continue
		}
		begun := time.Now()
		hash, err := check.view.Hash(paced(ctx, h.limit))
		if err != nil && ctx.Err() == nil {
			h.failed(err)
		}
		if err == nil {
			h.took.Since(begun)
		}
		check.end(hash, err)
	}
}

// stateHash answers what a HashCheck came to here, as soon as it is known.
func (s *Store) stateHash(ctx context.Context, id uint64) (*corepb.StateHash, error) {
	s.checks.mu.Lock()
	i := slices.IndexFunc(s.checks.known, func(c *hashCheck) bool { return c.id == id })
	var check *hashCheck
	if i >= 0 {
		check = s.checks.known[i]
	}
	s.checks.mu.Unlock()
	if check == nil {
		// Not applied yet, or it came with a snapshot.
		return nil, &Error{Code: CodeOverloaded, Detail: "the member has not begun the check"}
	}
	select {
	case <-check.done:
	case <-ctx.Done():
		return nil, &Error{Code: CodeOverloaded, Detail: "the member has not finished the check"}
	}
	if check.err != nil {
		return nil, &Error{Code: CodeStopped, Detail: check.err.Error()}
	}
	return &corepb.StateHash{AppliedIndex: check.view.State().AppliedIndex, Hash: check.hash}, nil
}

// checkHashes is a duty of the leader: it has the replicas compared now and then.
func (s *Store) checkHashes(ctx context.Context, _ uint64) {
	interval := s.cfg.HashCheckInterval
	if interval < 0 {
		return
	}
	if interval == 0 {
		interval = hashCheckIntervalDefault
	}
	for {
		// A check that an earlier leader began counts: leaders may change more often than checks come.
		s.checks.mu.Lock()
		next := s.checks.last.Add(interval)
		s.checks.mu.Unlock()
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		checking, cancel := context.WithTimeout(ctx, interval)
		err := s.compareReplicas(checking)
		cancel()
		if err != nil && ctx.Err() == nil {
			s.logger.Warn("the replicas could not be compared; trying again later", "err", err)
		}
		s.checks.mu.Lock()
		s.checks.last = time.Now()
		s.checks.mu.Unlock()
	}
}

// compareReplicas has all members hash their state as of one entry, and raises the alarm for those that differ. Who does not
// answer in time is left out.
func (s *Store) compareReplicas(ctx context.Context) error {
	members := s.Members()
	if len(members) < 2 {
		return nil
	}
	id := rand.Uint64() | 1
	result, err := s.Do(ctx, oneOp(&corepb.Op{Op: &corepb.Op_HashCheck{HashCheck: &corepb.HashCheck{Id: id}}}))
	if err == nil {
		err = result.Err
	}
	if err != nil {
		return err
	}
	hashes := make([]memberHash, len(members))
	begun := time.Now()
	asked, giveUp := context.WithCancel(ctx)
	defer giveUp()
	var asking sync.WaitGroup
	for i, m := range members {
		asking.Go(func() {
			state, err := s.hashOf(asked, m.ID, id)
			hashes[i] = memberHash{member: m, state: state, err: err}
			if m.ID == s.identity.Member {
				time.AfterFunc(max(hashGrace, time.Since(begun)), giveUp)
			}
		})
	}
	asking.Wait()
	wrong, right := judgeHashes(hashes, s.identity.Member)
	if len(wrong) == 0 {
		s.logger.Debug("replicas compared: they are equal", "members", len(right))
		return nil
	}
	for _, h := range wrong {
		s.logger.Error("a replica has come apart from the others: raising the CORRUPT alarm", "member", h.member.Name,
			"id", fmt.Sprintf("%x", h.member.ID), "index", h.state.AppliedIndex, "hash", fmt.Sprintf("%016x", h.state.Hash),
			"others", describeHashes(right))
		err = errors.Join(err, s.RaiseAlarm(s.ctx, AlarmCorrupt, h.member.ID)) // this one time the leadership may end meanwhile
	}
	return err
}

// hashOf asks a member until it answers.
func (s *Store) hashOf(ctx context.Context, member, id uint64) (*corepb.StateHash, error) {
	request := &corepb.PeerRequest{Request: &corepb.PeerRequest_StateHash{StateHash: id}}
	for {
		answer, err := s.ask(ctx, member, request)
		if err == nil {
			if state := answer.GetStateHash(); state != nil {
				return state, nil
			}
			return nil, &Error{Code: CodeBadArguments, Detail: "the answer holds no hash"}
		}
		var own *Error
		if errors.As(err, &own) && own.Code != CodeOverloaded && own.Code != CodeNoLeader {
			return nil, err
		}
		timer := time.NewTimer(hashAskRetry)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
	}
}

// memberHash is what a member answered.
type memberHash struct {
	member Member
	state  *corepb.StateHash
	err    error
}

// judgeHashes tells those that are wrong from those that are right: right is what most of those that answered say, or,
// without a majority, what the leader says, as etcd does.
func judgeHashes(hashes []memberHash, leader uint64) (wrong, right []memberHash) {
	type outcome struct{ index, hash uint64 }
	of := func(h memberHash) outcome { return outcome{h.state.AppliedIndex, h.state.Hash} }
	votes, answered := map[outcome]int{}, 0
	var accepted *outcome
	for _, h := range hashes {
		if h.err != nil {
			continue
		}
		answered++
		votes[of(h)]++
		if o := of(h); h.member.ID == leader {
			accepted = &o
		}
	}
	for o, n := range votes {
		if 2*n > answered {
			accepted = &o
		}
	}
	if accepted == nil {
		return nil, nil // the leader has no outcome of its own, and nobody else has a majority
	}
	for _, h := range hashes {
		switch {
		case h.err != nil:
		case of(h) == *accepted:
			right = append(right, h)
		default:
			wrong = append(wrong, h)
		}
	}
	return wrong, right
}

func describeHashes(hashes []memberHash) []string {
	var out []string
	slices.SortFunc(hashes, func(a, b memberHash) int { return cmp.Compare(a.member.ID, b.member.ID) })
	for _, h := range hashes {
		out = append(out, fmt.Sprintf("%s: %d %016x", h.member.Name, h.state.AppliedIndex, h.state.Hash))
	}
	return out
}

// HashAt hashes the shared space's history up to a revision, 0 for the present one, as etcd's HashKV does: the same on
// all members that are compacted to the same revision. It says up to which revision it was, and to which the history is
// compacted. COMPACTED, FUTURE_REVISION.
func (s *Store) HashAt(ctx context.Context, revision int64) (hash uint32, compacted, hashRevision int64, err error) {
	at, err := s.views.at(ctx, s.done, s.hub.told())
	if err != nil {
		return 0, 0, 0, err
	}
	defer at.Release()
	state := at.State()
	if err := (&tx{r: at}).readable(revision); err != nil {
		return 0, 0, 0, err
	}
	if revision == 0 {
		revision = state.Revision
	}
	defer s.measures.hashAt.Since(time.Now())
	hash, err = at.HashAt(revision, paced(ctx, newHashLimit()))
	return hash, state.Compacted, revision, err
}
