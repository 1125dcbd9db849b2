package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The links between members: a proxy stands before each member's peer port, and all that members say to each other goes
// through it. Links are directed. A cut one holds what it was given, as a network does that drops packets under TCP: the
// bytes come when it is whole again, and until then the connection is silent and not closed.

// link is one direction between two members.
type link struct {
	mu      sync.Mutex // guards all below
	held    bool
	delay   time.Duration
	rate    int64 // bytes a second; 0 is no bound
	passed  int64 // bytes
	changed chan struct{}
}

// state gives what holds now, and a channel that is closed when it does not any more.
func (l *link) state() (held bool, delay time.Duration, rate int64, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held, l.delay, l.rate, l.changed
}

func (l *link) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.changed)
	l.changed = make(chan struct{})
}

// links are all directed links of a cluster, and the proxies.
type links struct {
	t    testing.TB
	pids func() map[string]int // of the members that run

	mu        sync.Mutex // guards all below
	byEnds    map[[2]string]*link
	listeners []net.Listener
	conns     map[*proxied]struct{}
	refused   map[[2]string]bool // connections are closed instead of held
	ended     bool
	running   sync.WaitGroup
}

// proxied is one connection from a member to another.
type proxied struct {
	from, to string
	ends     [2]net.Conn
	over     chan struct{}
	once     sync.Once
}

func (p *proxied) close() {
	p.once.Do(func() {
		close(p.over)
		p.ends[0].Close()
		p.ends[1].Close()
	})
}

func newLinks(t testing.TB, pids func() map[string]int) *links {
	n := &links{t: t, pids: pids, byEnds: map[[2]string]*link{}, conns: map[*proxied]struct{}{}, refused: map[[2]string]bool{}}
	t.Cleanup(n.close)
	return n
}

func (n *links) close() {
	n.mu.Lock()
	n.ended = true
	for _, l := range n.listeners {
		l.Close()
	}
	for p := range n.conns {
		p.close()
	}
	n.mu.Unlock()
	n.running.Wait()
}

// proxy listens in front of a member's peer port.
func (n *links) proxy(to, address string) (front string) {
	n.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners = append(n.listeners, listener)
	n.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			n.running.Go(func() { n.serve(conn, to, address) })
		}
	})
	return listener.Addr().String()
}

func (n *links) serve(conn net.Conn, to, address string) {
	from, err := n.dialer(conn)
	if err != nil {
		conn.Close() // it ended while it connected
		return
	}
	if n.isRefused(from, to) {
		conn.Close()
		return
	}
	behind, err := net.Dial("tcp", address)
	if err != nil {
		conn.Close()
		return
	}
	p := &proxied{from: from, to: to, ends: [2]net.Conn{conn, behind}, over: make(chan struct{})}
	n.mu.Lock()
	if n.ended || n.refused[[2]string{from, to}] { // since it was asked
		p.close()
	}
	n.conns[p] = struct{}{}
	n.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.copy(behind, conn, n.link(from, to)) })
	both.Go(func() { p.copy(conn, behind, n.link(to, from)) })
	both.Wait()
	n.mu.Lock()
	delete(n.conns, p)
	n.mu.Unlock()
}

// chunk is bytes that came in one read.
type chunk struct {
	bytes []byte
	came  time.Time
}

// copy passes on one direction of a connection, as its link allows. What is on its way is bounded.
func (p *proxied) copy(to io.Writer, from io.Reader, l *link) {
	defer p.close()
	chunks := make(chan chunk, 64)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(chunks)
		for {
			b := make([]byte, 16<<10)
			count, err := from.Read(b)
			if count > 0 {
				select {
				case chunks <- chunk{b[:count], time.Now()}:
				case <-p.over:
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	defer reading.Wait()
	defer p.close()
	var free time.Time // when a link with a bound can take more
	for c := range chunks {
		for {
			held, delay, rate, changed := l.state()
			var due <-chan time.Time
			if !held {
				at := c.came.Add(delay)
				if rate > 0 && free.After(at) {
					at = free
				}
				wait := time.Until(at)
				if wait <= 0 {
					if rate > 0 {
						free = time.Now().Add(time.Duration(int64(len(c.bytes)) * int64(time.Second) / rate))
					}
					break
				}
				due = time.After(wait)
			}
			select {
			case <-changed:
			case <-due:
			case <-p.over:
				return
			}
		}
		l.mu.Lock()
		l.passed += int64(len(c.bytes)) // before anybody can have them
		l.mu.Unlock()
		if _, err := to.Write(c.bytes); err != nil {
			return
		}
	}
}

func (n *links) link(from, to string) *link {
	n.mu.Lock()
	defer n.mu.Unlock()
	ends := [2]string{from, to}
	if n.byEnds[ends] == nil {
		n.byEnds[ends] = &link{changed: make(chan struct{})}
	}
	return n.byEnds[ends]
}

func (n *links) isRefused(from, to string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.refused[[2]string{from, to}]
}

// cut holds what one member says to another; the other direction stays as it is.
func (n *links) cut(from, to string) {
	l := n.link(from, to)
	l.change(func() { l.held = true })
}

// refuse closes the connections between two members, and new ones at once, as a firewall does that rejects.
func (n *links) refuse(a, b string) {
	n.mu.Lock()
	n.refused[[2]string{a, b}], n.refused[[2]string{b, a}] = true, true
	n.mu.Unlock()
	n.breakConnections(a, b)
}

// breakConnections closes the connections between two members; they may make new ones.
func (n *links) breakConnections(a, b string) (broken int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for p := range n.conns {
		if p.from == a && p.to == b || p.from == b && p.to == a {
			p.close()
			broken++
		}
	}
	return broken
}

// slow delays and bounds what one member says to another.
func (n *links) slow(from, to string, delay time.Duration, rate int64) {
	l := n.link(from, to)
	l.change(func() { l.delay, l.rate = delay, rate })
}

// passed is how many bytes one member has said to another.
func (n *links) passed(from, to string) int64 {
	l := n.link(from, to)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.passed
}

// heal makes all links whole.
func (n *links) heal() {
	n.mu.Lock()
	clear(n.refused)
	all := make([]*link, 0, len(n.byEnds))
	for _, l := range n.byEnds {
		all = append(all, l)
	}
	n.mu.Unlock()
	for _, l := range all {
		l.change(func() { l.held, l.delay, l.rate = false, 0, 0 })
	}
}

var errNobody = errors.New("no member has this connection")

// dialer names the member that made a connection. Nothing on the wire says so in a way that a proxy can read, so the
// kernel is asked which process has the socket at the other end.
func (n *links) dialer(conn net.Conn) (string, error) {
	inode, err := inodeOf(conn.RemoteAddr().(*net.TCPAddr), conn.LocalAddr().(*net.TCPAddr))
	if err != nil {
		return "", err
	}
	want := "socket:[" + inode + "]"
	for name, pid := range n.pids() {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		files, err := os.ReadDir(dir)
		if err != nil {
			continue // it has ended
		}
		for _, file := range files {
			if target, err := os.Readlink(filepath.Join(dir, file.Name())); err == nil && target == want {
				return name, nil
			}
		}
	}
	return "", errNobody
}

// inodeOf finds the socket that is bound to one address and connected to the other.
func inodeOf(local, remote *net.TCPAddr) (string, error) {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) > 9 && portOf(fields[1]) == local.Port && portOf(fields[2]) == remote.Port && fields[9] != "0" {
			return fields[9], nil
		}
	}
	return "", errNobody
}

// portOf reads the port of an address such as 0100007F:1F90.
func portOf(address string) int {
	_, port, _ := strings.Cut(address, ":")
	n, _ := strconv.ParseUint(port, 16, 16)
	return int(n)
}
