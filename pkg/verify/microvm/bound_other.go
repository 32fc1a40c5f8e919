//go:build !linux

package microvm

import "syscall"

// bound puts a program into a group of its own. Only Linux can bind its life
// to that of labctl: elsewhere QEMU outlives a labctl that is killed.
func bound() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
