//go:build !unix || solaris || illumos || aix

package protocols

import (
	"errors"
	"syscall"
)

// setReusePort says that there is no such option.
func setReusePort(_, _ string, _ syscall.RawConn) error {
	return errors.New("this system has no SO_REUSEPORT")
}
