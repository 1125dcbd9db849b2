package transport

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy is a TCP proxy that can be cut and frozen.
type proxy struct {
	listener net.Listener
	target   string
	toTarget atomic.Int64 // bytes passed on so far
	cutAfter atomic.Int64 // bytes to the target after which all connections are cut, once; 0 = never

	mu     sync.Mutex // guards what follows
	thawed chan struct{}
	conns  map[net.Conn]bool
	closed bool

	tasks sync.WaitGroup
}

func newProxy(t testing.TB, target string) *proxy {
	p := &proxy{listener: listen(t, "127.0.0.1:0"), target: target, conns: map[net.Conn]bool{}, thawed: make(chan struct{})}
	close(p.thawed)
	p.tasks.Go(func() {
		for {
			conn, err := p.listener.Accept()
			if err != nil {
				return
			}
			p.tasks.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		p.listener.Close()
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.thaw()
		p.cut()
		p.tasks.Wait()
	})
	return p
}

func (p *proxy) url() string { return "http://" + p.listener.Addr().String() }

func (p *proxy) serve(near net.Conn) {
	far, err := net.Dial("tcp", p.target)
	if err != nil {
		near.Close()
		return
	}
	p.mu.Lock()
	if p.closed {
		near.Close()
		far.Close()
	}
	p.conns[near], p.conns[far] = true, true
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.copy(far, near, &p.toTarget) })
	both.Go(func() { p.copy(near, far, nil) })
	both.Wait()
	p.mu.Lock()
	delete(p.conns, near)
	delete(p.conns, far)
	p.mu.Unlock()
}

func (p *proxy) copy(to, from net.Conn, count *atomic.Int64) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		thawed := p.thawed
		p.mu.Unlock()
		<-thawed
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
		if count != nil {
			limit := p.cutAfter.Load()
			if sum := count.Add(int64(n)); limit > 0 && sum >= limit && p.cutAfter.CompareAndSwap(limit, 0) {
				p.cut()
			}
		}
	}
}

// freeze lets nothing through any more, and closes nothing.
func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.thawed = make(chan struct{})
}

func (p *proxy) thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.thawed:
	default:
		close(p.thawed)
	}
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}
