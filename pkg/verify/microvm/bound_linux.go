package microvm

import "syscall"

// bound puts a program into a group of its own and binds its life to the
// thread that starts it (prctl(2), PR_SET_PDEATHSIG).
func bound() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
