//go:build !linux

package apiserver

import "syscall"

// attributes give a program a process group of its own, as on Linux; that it
// dies with labctl is what only Linux offers.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
