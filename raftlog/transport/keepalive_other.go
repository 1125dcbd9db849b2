//go:build !linux

package transport

import (
	"net"
	"time"
)

// boundUnacknowledged leaves it to the system.
func boundUnacknowledged(*net.TCPConn, time.Duration) {}
