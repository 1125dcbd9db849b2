package main

import (
	"crypto/tls"
	"net"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// traffic counts the bytes of the connections of etcd clients, with everything that is around the messages.
type traffic struct {
	received, sent atomic.Uint64
}

var (
	clientReceived = describe("etcd_network_client_grpc_received_bytes_total", "Bytes received from etcd clients.")
	clientSent     = describe("etcd_network_client_grpc_sent_bytes_total", "Bytes sent to etcd clients.")
)

func (t *traffic) Describe(out chan<- *prometheus.Desc) { out <- clientReceived; out <- clientSent }

func (t *traffic) Collect(out chan<- prometheus.Metric) {
	out <- prometheus.MustNewConstMetric(clientReceived, prometheus.CounterValue, float64(t.received.Load()))
	out <- prometheus.MustNewConstMetric(clientSent, prometheus.CounterValue, float64(t.sent.Load()))
}

// of gives a listener whose connections are counted.
func (t *traffic) of(l net.Listener) net.Listener { return countedListener{l, t} }

type countedListener struct {
	net.Listener
	traffic *traffic
}

func (l countedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	counted := &countedConn{conn, l.traffic}
	if secured, ok := conn.(secureConn); ok {
		return struct {
			*countedConn
			agreed
		}{counted, secured}, nil
	}
	return counted, nil
}

// secureConn is a connection over TLS; agreed is what both sides have agreed on.
type (
	secureConn interface {
		net.Conn
		agreed
	}
	agreed interface{ ConnectionState() tls.ConnectionState }
)

type countedConn struct {
	net.Conn
	traffic *traffic
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.traffic.received.Add(uint64(n))
	return n, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.traffic.sent.Add(uint64(n))
	return n, err
}
