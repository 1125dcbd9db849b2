package main

import (
	"context"
	"net"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
)

// watchServer says of every watch that it was created, and floods it until it is gone.
type watchServer struct {
	etcdserverpb.UnimplementedWatchServer
	mu    sync.Mutex
	peers map[string]int // watches by the address of their client
	sent  chan int       // bytes that each watch took
}

func (s *watchServer) Watch(stream etcdserverpb.Watch_WatchServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	client, _ := peer.FromContext(stream.Context())
	s.mu.Lock()
	s.peers[client.Addr.String()]++
	s.mu.Unlock()
	if err := stream.Send(&etcdserverpb.WatchResponse{Created: true}); err != nil {
		return err
	}
	const piece = 1 << 10
	for sent := 0; ; sent += piece {
		if err := stream.Send(&etcdserverpb.WatchResponse{CancelReason: noise[:piece]}); err != nil {
			s.sent <- sent
			return err
		}
	}
}

func TestUnreadWatchersShareAConnectionAndTakeAWindowEach(t *testing.T) {
	const watchers = 5
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	service := &watchServer{peers: map[string]int{}, sent: make(chan int, watchers)}
	server := grpc.NewServer()
	etcdserverpb.RegisterWatchServer(server, service)
	go server.Serve(listener)
	defer server.Stop()

	cfg := Config{Conns: 1, Watchers: watchers}
	d, err := newEtcd(cfg, []string{listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	c := newClient(0, cfg)
	if _, err := d.(*etcdDriver).startPutUnread(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	if len(service.peers) != 1 {
		t.Errorf("watches came from %v, want one connection", service.peers)
	}
	c.close()
	for range watchers {
		// What gRPC's server has queued comes on top of the window.
		if sent := <-service.sent; sent > 4*unreadWindow {
			t.Errorf("a watcher that does not read took %d bytes", sent)
		}
	}
}
