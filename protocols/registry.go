package protocols

import (
	"cmp"
	"net"
	"slices"
	"sync"
	"time"
)

// registry is the list of open connections and the limit on their number.
type registry struct {
	max int

	mu     sync.Mutex
	conns  map[uint64]*Conn
	lastID uint64
	empty  chan struct{} // closed when the list becomes empty; made by whoever waits
}

func newRegistry(max int) *registry {
	return &registry{max: max, conns: make(map[uint64]*Conn)}
}

// add lists a connection, or answers nil when the limit is reached.
func (r *registry) add(raw net.Conn, protocol Protocol, shared bool) *Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.conns) >= r.max {
		return nil
	}
	r.lastID++
	conn := &Conn{Conn: raw, id: r.lastID, protocol: protocol, shared: shared, since: time.Now(), registry: r}
	r.conns[conn.id] = conn
	return conn
}

// settle notes the protocol of a connection of the shared port. The lock orders it before any listing.
func (r *registry) settle(conn *Conn, protocol Protocol) {
	r.mu.Lock()
	defer r.mu.Unlock()
	conn.protocol = protocol
}

func (r *registry) remove(conn *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, conn.id)
	if len(r.conns) == 0 && r.empty != nil {
		close(r.empty)
		r.empty = nil
	}
}

// list describes the open connections, oldest first.
func (r *registry) list() []ConnInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	infos := make([]ConnInfo, 0, len(r.conns))
	for _, conn := range r.conns {
		infos = append(infos, conn.Info())
	}
	slices.SortFunc(infos, func(a, b ConnInfo) int { return cmp.Compare(a.ID, b.ID) })
	return infos
}

func (r *registry) count(protocol Protocol) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, conn := range r.conns {
		if conn.protocol == protocol {
			n++
		}
	}
	return n
}

// closeWhere closes the connections that match. They are picked first and closed after, because Close takes the lock.
func (r *registry) closeWhere(match func(*Conn) bool) int {
	r.mu.Lock()
	var picked []*Conn
	for _, conn := range r.conns {
		if match(conn) {
			picked = append(picked, conn)
		}
	}
	r.mu.Unlock()
	for _, conn := range picked {
		conn.Close()
	}
	return len(picked)
}

// drained gives a channel that is closed once no connection is open.
func (r *registry) drained() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.conns) == 0 {
		none := make(chan struct{})
		close(none)
		return none
	}
	if r.empty == nil {
		r.empty = make(chan struct{})
	}
	return r.empty
}
