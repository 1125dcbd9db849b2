package transport

import (
	"net"
	"time"
)

// A connection on which nothing comes is asked for a sign of life, so that what a member left behind when it vanished ends.
// Those that pings go over need none; and of what is sent, each system waits for the acknowledgement itself.
var keepalive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: time.Second, Count: 3}

// unacknowledgedMax is how long what was sent may stay without an acknowledgement before its connection is given up.
const unacknowledgedMax = 3 * time.Second

func keepAlive(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetKeepAliveConfig(keepalive)
		boundUnacknowledged(tcp, unacknowledgedMax)
	}
}
