package resp

import (
	"bytes"
	"slices"
	"sync"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// tracking tells one client which of the keys that it has read, or that begin with its prefixes, have changed: CLIENT
// TRACKING. Changes count whatever protocol made them.
//
// Each key is a one-shot watch in the connection's own feed from the revision after the one that was read, so that no
// change falls in between. Messages are held from the start of a request until its reply is out (conn.execute): an
// invalidation that overtook the reply would leave the client with the old value for good.
type tracking struct {
	c    *conn
	feed *core.Feed
	done chan struct{} // closed when run has returned

	caching bool // CLIENT CACHING was given for the next command; the connection's goroutine's own

	// turn is held while notices are dealt with, and by NOLOOP connections while they write: the revisions of own
	// changes are then known before their notices are looked at.
	turn sync.Mutex // guards own
	own  []int64    // revisions of the connection's changes since notices were read last, ascending

	mu       sync.Mutex // guards the fields below
	keys     map[watchedName]*trackedKey
	byID     map[int64]*trackedKey
	prefixes map[int64]spacePrefix // by watch
	flushes  [databases]bool       // the space's emptying is watched
	lastID   int64
}

// trackingMode is what CLIENT TRACKING asked for. It is replaced, never changed.
type trackingMode struct {
	broadcast, optIn, optOut, noLoop bool
	redirect                         int64    // the connection that is told, 0 for the same
	prefixes                         []string // of BCAST, sorted
}

// trackedKey is a key that a client has read.
type trackedKey struct {
	name     watchedName
	id       int64 // of the watch
	owner    *tracking
	previous *trackedKey // neighbours in the table
	next     *trackedKey
}

type spacePrefix struct {
	space  byte
	prefix string
}

// flushWatch is the id of the watch that tells when a space is emptied; those of keys and prefixes are positive.
func flushWatch(space byte) int64 { return -1 - int64(space) }

func startTracking(c *conn) *tracking {
	t := &tracking{
		c: c, feed: c.srv.store.Hub().NewFeed(), done: make(chan struct{}),
		keys: map[watchedName]*trackedKey{}, byID: map[int64]*trackedKey{}, prefixes: map[int64]spacePrefix{},
	}
	go t.run()
	return t
}

// stopTracking ends the tracking of the connection, if it is on.
func (c *conn) stopTracking() {
	t := c.track
	if t == nil {
		return
	}
	c.track = nil
	c.public.tracking.Store(nil)
	c.public.brokenRedirect.Store(false)
	t.feed.Close()
	<-t.done
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.keys {
		c.srv.tracked.remove(k)
	}
	clear(t.keys)
	clear(t.byID)
}

// run tells what has changed until the feed closes.
func (t *tracking) run() {
	defer close(t.done)
	for {
		select {
		case <-t.feed.Done():
			return
		case <-t.feed.Ready():
		}
		t.turn.Lock()
		for notices := t.feed.Next(noticesMax); len(notices) > 0; notices = t.feed.Next(noticesMax) {
			t.handle(notices)
		}
		// Whatever the connection has changed was in the feed before it had its answer, and so has been seen.
		t.own = t.own[:0]
		t.turn.Unlock()
	}
}

// batch is what notices come to.
type batch struct {
	flushed  bool
	keys     [][]byte             // one message for each
	byPrefix map[string]*keyBatch // one message for all of a prefix
}

// keyBatch is keys in the order in which they came, each once.
type keyBatch struct {
	keys [][]byte
	seen map[string]struct{}
}

func (b *batch) add(prefix string, key []byte) {
	if b.byPrefix == nil {
		b.byPrefix = map[string]*keyBatch{}
	}
	of := b.byPrefix[prefix]
	if of == nil {
		of = &keyBatch{seen: map[string]struct{}{}}
		b.byPrefix[prefix] = of
	}
	if _, ok := of.seen[string(key)]; !ok {
		of.seen[string(key)] = struct{}{}
		of.keys = append(of.keys, key)
	}
}

func (t *tracking) handle(notices []core.Notice) {
	var b batch
	mode := t.c.public.tracking.Load()
	t.mu.Lock()
	for i := range notices {
		switch n := &notices[i]; {
		case n.ID < 0:
			// The key with the empty name has the same place as the event of a flush.
			b.flushed = b.flushed || n.Lost || slices.ContainsFunc(n.Events, isFlush)
		case t.byID[n.ID] != nil:
			k := t.byID[n.ID]
			t.forget(k)
			switch {
			case slices.ContainsFunc(n.Events, isFlush):
				b.flushed = true
			case mode == nil || !mode.noLoop || !t.isOwn(n):
				b.keys = append(b.keys, []byte(k.name.key))
			}
		default:
			if p, ok := t.prefixes[n.ID]; ok {
				t.handlePrefix(&b, n, p, mode)
			}
		}
	}
	if b.flushed {
		for _, k := range t.keys {
			t.feed.Remove(k.id)
			t.forget(k)
		}
	}
	t.mu.Unlock()
	for _, key := range b.keys {
		t.send([][]byte{key})
	}
	for _, of := range b.byPrefix {
		t.send(of.keys)
	}
	if b.flushed {
		t.send(nil)
	}
}

// handlePrefix collects the keys of a prefix that have changed. Where changes were lost, everything may have.
func (t *tracking) handlePrefix(b *batch, n *core.Notice, p spacePrefix, mode *trackingMode) {
	if n.Lost || n.Compacted != 0 || n.Err != nil {
		b.flushed = true
	}
	if n.Compacted != 0 || n.Err != nil { // the watch is over
		t.addPrefixWatch(n.ID, p)
	}
	for _, e := range n.Events {
		switch {
		case e.Verb == verbFlush:
			b.flushed = true
		case mode != nil && mode.noLoop && slices.Contains(t.own, e.Revision):
		default:
			b.add(p.prefix, e.Key)
		}
	}
}

// isOwn reports whether the connection itself made a change, as far as that is known.
func (t *tracking) isOwn(n *core.Notice) bool {
	return len(n.Events) > 0 && slices.Contains(t.own, n.Events[0].Revision)
}

// remember watches a key for the first change at or after a revision.
func (t *tracking) remember(space uint32, key []byte, from int64) {
	name := watchedName{space, string(key)}
	t.mu.Lock()
	if t.keys[name] != nil {
		t.mu.Unlock()
		return
	}
	t.watchFlush(byte(space), from)
	t.lastID++
	k := &trackedKey{name: name, id: t.lastID, owner: t}
	watch := core.Watch{Match: core.MatchAny, Space: byte(space), Key: key, From: from, Once: true}
	if t.feed.Add(k.id, watch) != nil { // so much has happened that nobody knows
		t.mu.Unlock()
		t.send([][]byte{[]byte(name.key)})
		return
	}
	t.keys[name], t.byID[k.id] = k, k
	t.c.srv.tracked.add(k)
	t.mu.Unlock()
	t.c.srv.tracked.shrink(t.c.srv.opts.MaxTrackedKeys)
}

// watchFlush watches for the emptying of a private space. mu is held. In the shared space every key's end is an event.
func (t *tracking) watchFlush(space byte, from int64) {
	if space != 0 && !t.flushes[space] {
		t.flushes[space] = true
		t.feed.Add(flushWatch(space), core.Watch{Match: core.MatchAny, Space: space, From: from})
	}
}

// forget drops a key whose watch is over. mu is held.
func (t *tracking) forget(k *trackedKey) {
	delete(t.keys, k.name)
	delete(t.byID, k.id)
	t.c.srv.tracked.remove(k)
}

// evict invalidates a key that there is no room for. Any goroutine may call it.
func (t *tracking) evict(k *trackedKey) {
	t.mu.Lock()
	still := t.keys[k.name] == k
	if still {
		t.feed.Remove(k.id)
		delete(t.keys, k.name)
		delete(t.byID, k.id)
	}
	t.mu.Unlock()
	if still {
		t.send([][]byte{[]byte(k.name.key)})
	}
}

// addPrefix watches the keys that begin with a prefix, in every space.
func (t *tracking) addPrefix(prefix string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for space := range byte(databases) {
		t.watchFlush(space, 0)
		t.lastID++
		p := spacePrefix{space, prefix}
		t.prefixes[t.lastID] = p
		t.addPrefixWatch(t.lastID, p)
	}
}

func (t *tracking) addPrefixWatch(id int64, p spacePrefix) {
	// An error says that the server is stopping.
	t.feed.Add(id, core.Watch{Match: core.MatchAny, Space: p.space, Key: []byte(p.prefix), End: prefixEnd(p.prefix)})
}

// prefixEnd is the end of the range of keys that begin with a prefix, in core's notation.
func prefixEnd(prefix string) []byte {
	end := bytes.TrimRight([]byte(prefix), "\xff")
	if len(end) == 0 {
		return []byte{0}
	}
	end[len(end)-1]++
	return end
}

// send tells the client, or the one that it named, that keys have changed; nil stands for all.
func (t *tracking) send(keys [][]byte) {
	mode := t.c.public.tracking.Load()
	if mode == nil {
		return
	}
	target := t.c
	if mode.redirect != 0 {
		if target = t.c.srv.client(mode.redirect); target == nil {
			t.c.public.brokenRedirect.Store(true)
			if t.c.public.resp3.Load() {
				w := writer{resp3: true}
				w.pushHead(2)
				w.bulkString("tracking-redir-broken")
				w.int(mode.redirect)
				t.c.push(w.buf)
			}
			return
		}
	}
	w := writer{resp3: target.public.resp3.Load()}
	switch {
	case w.resp3:
		w.pushHead(2)
		w.bulkString("invalidate")
	case mode.redirect != 0 && target.public.isSubscriber():
		w.array(3)
		w.bulkString("message")
		w.bulkString("__redis__:invalidate")
	default:
		return // RESP2 has no messages outside subscriptions
	}
	if keys == nil {
		w.null()
	} else {
		w.bulks(keys)
	}
	target.push(w.buf)
}

// submit puts commands into the log and waits for them.
func (c *conn) submit(txns ...*corepb.Txn) ([]*core.TxnResult, error) {
	for _, txn := range txns {
		txn.Caller = c.caller
	}
	if t := c.track; t != nil && c.public.tracking.Load().noLoop {
		t.turn.Lock()
		defer t.turn.Unlock()
		results, err := c.srv.store.Submit(c.srv.ctx, txns...).Wait(c.srv.ctx)
		for _, r := range results {
			if r.Changed {
				t.own = append(t.own, r.Revision)
			}
		}
		return results, err
	}
	return c.srv.store.Submit(c.srv.ctx, txns...).Wait(c.srv.ctx)
}
