package apiserver

import "syscall"

// attributes give a program a process group of its own, so that Ctrl-C on the
// terminal reaches labctl alone, and let it die with labctl.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
