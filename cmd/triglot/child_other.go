//go:build !linux

package main

import "syscall"

// childAttributes put a member into a process group of its own, so that Ctrl-C reaches it through this process alone.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
