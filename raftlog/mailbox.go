package raftlog

import "sync"

// mailbox passes items, in order, to the one goroutine that takes them. It has no limit: each use says what bounds it.
type mailbox[T any] struct {
	mu     sync.Mutex // guards what follows
	filled sync.Cond
	items  []T
	closed bool
}

func newMailbox[T any]() *mailbox[T] {
	m := &mailbox[T]{}
	m.filled.L = &m.mu
	return m
}

// put adds an item and wakes the taker. It reports false if the mailbox is closed.
func (m *mailbox[T]) put(item T) bool {
	return m.add(item, true)
}

// leave adds an item that nobody waits for: the taker finds it with the next one, or when the mailbox is closed.
func (m *mailbox[T]) leave(item T) bool {
	return m.add(item, false)
}

func (m *mailbox[T]) add(item T, wake bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.items = append(m.items, item)
	if wake {
		m.filled.Signal()
	}
	return true
}

// close refuses further items; those inside can still be taken.
func (m *mailbox[T]) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.filled.Signal()
}

// wait blocks until there is something and takes all of it. spare, the slice of an earlier call, is used to gather the
// next items. It reports false when the mailbox is closed and empty.
func (m *mailbox[T]) wait(spare []T) (items []T, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.items) == 0 && !m.closed {
		m.filled.Wait()
	}
	items = m.swap(spare)
	return items, len(items) > 0
}

// poll takes what is there without waiting.
func (m *mailbox[T]) poll(spare []T) []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.swap(spare)
}

func (m *mailbox[T]) swap(spare []T) []T {
	items := m.items
	clear(spare)
	m.items = spare[:0]
	return items
}
