package main

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/triglot/triglot/protocols"
)

// acceptPause keeps the loop from spinning while the process is out of file descriptors.
const acceptPause = 50 * time.Millisecond

// peerPort holds the address under which other members would find this one. A member that is alone has nothing to say
// there, but the address is part of its identity, and a taken port is better found at the start than when the second
// member joins.
type peerPort struct {
	listener *net.TCPListener
	serving  sync.WaitGroup
}

func openPeerPort(address string, logger *slog.Logger) (*peerPort, error) {
	listener, err := protocols.Bind("listen-peer", address)
	if err != nil {
		return nil, err
	}
	p := &peerPort{listener: listener}
	p.serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				logger.Debug("peer address: cannot accept", "err", err)
				time.Sleep(acceptPause)
				continue
			}
			logger.Debug("peer address: connection closed, this member is alone", "remote", conn.RemoteAddr().String())
			conn.Close()
		}
	})
	return p, nil
}

func (p *peerPort) addr() string { return p.listener.Addr().String() }

func (p *peerPort) close() {
	p.listener.Close()
	p.serving.Wait()
}
