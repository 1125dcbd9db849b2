//go:build unix && !solaris && !illumos && !aix

package protocols

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// setReusePort is a net.ListenConfig.Control that sets SO_REUSEPORT.
func setReusePort(_, _ string, socket syscall.RawConn) error {
	var failure error
	if err := socket.Control(func(fd uintptr) {
		failure = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); err != nil {
		return err
	}
	return failure
}
