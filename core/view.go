package core

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// ReadLevel says how fresh a view has to be.
type ReadLevel uint8

const (
	// Linearizable views show every command that was acknowledged, by any node, before the view was asked for.
	Linearizable ReadLevel = iota
	// Local views show what this node has applied.
	Local
)

// View is the keyspace at one moment. It must be closed, and soon: it keeps old data on disk. It is for one goroutine.
type View struct {
	at     *storage.View
	tx     tx
	denied error // what the caller asked for and may not see
}

// View gives a view of the keyspace. A linearizable one is NO_LEADER when there is no quorum within the request time-out;
// a local one waits for nobody.
func (s *Store) View(ctx context.Context, level ReadLevel) (*View, error) {
	if level == Linearizable {
		if err := s.catchUp(ctx); err != nil {
			return nil, err
		}
	}
	// Whoever was told of a change sees it: events are published a moment before the view that shows them.
	at, err := s.views.at(ctx, s.done, s.hub.told())
	if err != nil {
		return nil, err
	}
	// A key whose time is over is not shown, even where no entry has been stamped since.
	now := max(s.cfg.NowMillis(), at.State().StampMillis)
	return &View{at: at, tx: tx{r: at, now: now, cache: &s.grants}}, nil
}

// catchUp returns when readers see everything that was acknowledged, by any node, before the call.
func (s *Store) catchUp(ctx context.Context) error {
	wait := s.patience(ctx)
	defer wait.release()
	index, err := s.log.ReadIndex(wait)
	if err == nil {
		err = s.awaitApplied(wait, index)
	}
	if err == nil {
		return nil
	}
	return s.noQuorum(wait, err)
}

// noQuorum says why something could not be made sure of with a quorum.
func (s *Store) noQuorum(ctx context.Context, err error) error {
	select {
	case <-s.done:
		return ErrStopped
	default:
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
		if p, ok := ctx.(*patient); ok {
			err = p.cause()
		}
	}
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	return &Error{Code: CodeNoLeader, Detail: err.Error()}
}

// awaitApplied returns when readers see an entry.
func (s *Store) awaitApplied(ctx context.Context, index uint64) error {
	return s.views.wait(ctx, s.done, func(state *storage.State) bool { return state.AppliedIndex >= index })
}

// Close lets the view go.
func (v *View) Close() { v.at.Release() }

// Revision of the last change that the view shows.
func (v *View) Revision() int64 { return v.at.State().Revision }

// Compacted gives the oldest revision that can be read, 0 when all can.
func (v *View) Compacted() int64 { return v.at.State().Compacted }

// NowMillis is the time by which the view judges deadlines, in Unix milliseconds.
func (v *View) NowMillis() int64 { return v.tx.now }

// Count gives the number of keys of a space, of every kind.
func (v *View) Count(space byte) int64 { return v.at.State().Counts[space] }

// Err reports a failure of the storage beneath, after which the view's answers are worth nothing, or that something was
// withheld because the caller may not read it.
func (v *View) Err() error {
	if v.denied != nil {
		return v.denied
	}
	return v.at.Err()
}

// Get reads a key of any kind, nil when it is absent.
func (v *View) Get(space byte, key []byte) *storage.Record {
	if !v.mayRead(key, nil) {
		return nil
	}
	return v.tx.record(space, key)
}

// Do answers a command of reads alone, by the same code that answers it within the log. The error is a failure of the
// storage beneath, or says that the caller may not ask.
func (v *View) Do(txn *corepb.Txn) (*TxnResult, error) {
	result := v.tx.run(txn)
	if err := v.at.Err(); err != nil {
		return nil, err
	}
	if result.Err != nil && result.FailedOp < 0 {
		return nil, result.Err
	}
	return result, nil
}

// Node reads a znode. An implicit one has no data.
func (v *View) Node(path string) (data []byte, s Stat, ok bool) {
	key := []byte(path)
	if !v.mayRead(key, nil) {
		return nil, Stat{}, false
	}
	return v.node(key, v.tx.record)
}

func (v *View) node(key []byte, read func(space byte, key []byte) *storage.Record) (data []byte, s Stat, ok bool) {
	rec, tree, ok := v.tx.nodeAt(key, read)
	if !ok {
		return nil, Stat{}, false
	}
	if rec != nil {
		data = rec.Value
	}
	return data, nodeStat(key, rec, tree), true
}

// Stat reads a znode's metadata.
func (v *View) Stat(path string) (Stat, bool) {
	key := []byte(path)
	if !v.mayRead(key, nil) {
		return Stat{}, false
	}
	_, s, ok := v.node(key, v.tx.head)
	return s, ok
}

// Children lists the names of a znode's children, in byte order.
func (v *View) Children(path string) (names []string, s Stat, ok bool) {
	key := []byte(path)
	if !v.mayRead(key, nil) {
		return nil, Stat{}, false
	}
	rec, tree, ok := v.tx.nodeAt(key, v.tx.head)
	if !ok {
		return nil, Stat{}, false
	}
	names = make([]string, 0, tree.Children)
	iter := v.at.Scan(storage.ChildBounds(key))
	defer iter.Close()
	for iter.Next() {
		_, name, _ := storage.SplitChild(iter.Key(), nil)
		names = append(names, string(name))
	}
	return names, nodeStat(key, rec, tree), true
}

// Lease reads a lease or session.
func (v *View) Lease(id int64) (storage.Lease, bool) {
	return v.at.Leases().Get(id)
}

// Leases goes over the leases and sessions, in the order of their ids.
func (v *View) Leases() iter.Seq[storage.Lease] { return v.at.Leases().All() }

// LeaseKeys lists the keys of the shared space that are attached to a lease, in key order.
func (v *View) LeaseKeys(id int64) [][]byte {
	var keys [][]byte
	for _, attached := range v.tx.attachments(id) {
		if attached.space == 0 && v.tx.head(0, attached.key) != nil {
			keys = append(keys, bytes.Clone(attached.key))
		}
	}
	return keys
}

// views holds the view that readers share, and those who wait for a later one.
type views struct {
	mu      sync.Mutex // guards the fields below
	current *storage.View
	next    chan struct{} // closed when current is replaced; made when somebody waits
}

// set replaces the current view, whose reference it takes over.
func (v *views) set(view *storage.View) {
	v.mu.Lock()
	old, next := v.current, v.next
	v.current, v.next = view, nil
	v.mu.Unlock()
	if old != nil {
		old.Release()
	}
	if next != nil {
		close(next)
	}
}

// get takes a reference to the current view, nil when the store is closed.
func (v *views) get() *storage.View {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.current == nil {
		return nil
	}
	return v.current.Clone()
}

// at takes a reference to the current view once that shows a revision.
func (v *views) at(ctx context.Context, stopped <-chan struct{}, revision int64) (*storage.View, error) {
	for {
		view := v.get()
		if view == nil {
			return nil, ErrStopped
		}
		if view.State().Revision >= revision {
			return view, nil
		}
		view.Release()
		if err := v.wait(ctx, stopped, func(state *storage.State) bool { return state.Revision >= revision }); err != nil {
			return nil, err
		}
	}
}

// wait returns when the current view is as wanted.
func (v *views) wait(ctx context.Context, stopped <-chan struct{}, wanted func(*storage.State) bool) error {
	for {
		v.mu.Lock()
		if v.current == nil {
			v.mu.Unlock()
			return ErrStopped
		}
		if wanted(v.current.State()) {
			v.mu.Unlock()
			return nil
		}
		if v.next == nil {
			v.next = make(chan struct{})
		}
		next := v.next
		v.mu.Unlock()
		select {
		case <-next:
		case <-stopped:
			return ErrStopped
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
