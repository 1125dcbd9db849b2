package protocols

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
)

// Addresses to listen on: host:port, or unix: and the path of a socket, which is relative to the working directory unless
// it begins with /.

const unixPrefix = "unix:"

// CutUnix gives the path of an address that is a Unix socket's, and false for host:port.
func CutUnix(address string) (path string, ok bool) { return strings.CutPrefix(address, unixPrefix) }

// FormatAddress writes where a listener is as Bind takes it: host:port, or unix:path.
func FormatAddress(addr net.Addr) string {
	if addr.Network() == "unix" {
		return unixPrefix + addr.String()
	}
	return addr.String()
}

// Bind binds an address, and says in one line what is wrong when it cannot; flag is the setting that the address is from.
// reusePort lets other sockets of the same user have the same TCP port (SO_REUSEPORT).
//
// The file of a Unix socket is there until the listener is closed, with the permissions that the umask leaves. One that a
// process left behind is replaced. One that is answered at is in use, and a file that is no socket stays.
func Bind(flag, address string, reusePort bool) (net.Listener, error) {
	network, at := "tcp", address
	config := net.ListenConfig{KeepAliveConfig: keepAlive}
	if reusePort {
		config.Control = setReusePort
	}
	path, isUnix := CutUnix(address)
	if isUnix {
		network, at = "unix", path
		config.Control = nil
		if err := removeLeftSocket(path); err != nil {
			return nil, fmt.Errorf("--%s: cannot listen on %q: %w", flag, address, err)
		}
	}
	listener, err := config.Listen(context.Background(), network, at)
	switch {
	case err == nil:
		return listener, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("--%s: %s is already in use; choose another address or turn it off with --%s=''", flag, address, flag)
	default:
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err // the address and the operation are said already
		}
		return nil, fmt.Errorf("--%s: cannot listen on %q: %w", flag, address, err)
	}
}

// removeLeftSocket removes the file of a socket that nobody answers at any more. What else is there is left, for listening
// to fail on.
func removeLeftSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("there is a file that is no socket")
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		return conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
