package storage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// lookups are iterators over a ground that stand ready, to find single rows or to scan. One that is open already asks the filter of
// each table that may have a row, and reads a block of the one that has it; Pebble's Get opens those tables first, which takes several
// times as long, and longest for a row that is nowhere. A scan that finds little, as of a node's children, is mostly the opening too.
//
// An open iterator keeps the files that it began with. So those that stand here go when a compaction has replaced files, and when
// the ground is not the present one any more.
type lookups struct {
	mu      sync.Mutex
	free    [2 * len(groups)][]lookup
	retired bool
}

type lookup struct {
	place int // in free; by the group of the rows it has found, since those of another are in other tables
	rows  *pebble.Iterator
	files uint64 // DB.files when it began
}

const (
	// lookupsFreeMax is how many stand ready for each group, and as many to scan it.
	lookupsFreeMax = 4
	placeScans     = len(groups) // where those begin
	placeNone      = -1          // of one that does not stand ready afterwards
)

// lookup gives an iterator for rows that are in one group with a key, which leave takes back. No two goroutines may use it at a time.
func (g *ground) lookup(key []byte) (lookup, error) {
	place := groupOf(bytesString(key))
	if l, ok := g.lookups.take(place); ok {
		return l, nil
	}
	return g.open(place, &pebble.IterOptions{UseL6Filters: true})
}

// scan gives an iterator within bounds, which leave takes back.
func (g *ground) scan(lower, upper []byte) (lookup, error) {
	place := placeScans + groupOf(bytesString(lower))
	if next := place - placeScans + 1; upper == nil || next < len(groups) && bytes.Compare(upper, groups[next]) > 0 {
		place = placeNone // it goes over several groups
	}
	if l, ok := g.lookups.take(place); ok {
		l.rows.SetBounds(lower, upper)
		return l, nil
	}
	return g.open(place, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
}

func (g *ground) open(place int, options *pebble.IterOptions) (lookup, error) {
	files := g.engine.db.files.Load()
	rows, err := g.snapshot.NewIter(options)
	if err != nil {
		return lookup{}, fmt.Errorf("storage: read: %w", err)
	}
	return lookup{place, rows, files}, nil
}

// find gives the value of a row where it lies, until the next call.
func (l lookup) find(key []byte) (value []byte, present bool, err error) {
	// The prefix of a key is all of it.
	if present = l.rows.SeekPrefixGE(key); present {
		value, err = l.rows.ValueAndErr()
	} else {
		err = l.rows.Error()
	}
	if err != nil {
		return nil, false, fmt.Errorf("storage: read: %w", err)
	}
	return value, present, nil
}

// leave takes back what lookup gave.
func (g *ground) leave(l lookup) error {
	if l.rows.Error() == nil && g.lookups.put(l, &g.engine.db.files) {
		return nil
	}
	return l.rows.Close()
}

func (l *lookups) take(place int) (taken lookup, ok bool) {
	if place == placeNone {
		return lookup{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	free := l.free[place]
	last := len(free) - 1
	if last < 0 {
		return lookup{}, false
	}
	l.free[place] = free[:last]
	return free[last], true
}

// put says whether it has kept what it was given.
func (l *lookups) put(given lookup, files *atomic.Uint64) bool {
	if given.place == placeNone {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// Whoever changes files drops what is here afterwards.
	if l.retired || len(l.free[given.place]) >= lookupsFreeMax || given.files != files.Load() {
		return false
	}
	l.free[given.place] = append(l.free[given.place], given)
	return true
}

// drop closes what stands ready.
func (l *lookups) drop() error {
	l.mu.Lock()
	free := slices.Concat(l.free[:]...)
	clear(l.free[:])
	l.mu.Unlock()
	var err error
	for _, f := range free {
		err = errors.Join(err, f.rows.Close())
	}
	return err
}

// retire says that nothing shall stand ready from now on, and whether anything does.
func (l *lookups) retire() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retired = true
	return slices.ContainsFunc(l.free[:], func(free []lookup) bool { return len(free) > 0 })
}
