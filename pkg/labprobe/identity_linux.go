package labprobe

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// dmesgLines is how much of the kernel's log is evidence: enough to tell
// kernels apart.
const dmesgLines = 12

// identityFromKernel asks the kernel itself, by system calls.
func identityFromKernel(r *record) {
	r.put("pid", os.Getpid(), "syscall", "getpid(2)")
	var uts unix.Utsname
	if err := unix.Uname(&uts); err == nil {
		r.put("kernel.release", unix.ByteSliceToString(uts.Release[:]), "syscall", "uname(2) release")
		r.put("kernel.version", unix.ByteSliceToString(uts.Version[:]), "syscall", "uname(2) version")
		r.put("hostname", unix.ByteSliceToString(uts.Nodename[:]), "syscall", "uname(2) nodename")
	}
	text, err := dmesg()
	ref := "syslog(2) SYSLOG_ACTION_READ_ALL"
	if err != nil {
		ref += ": " + errnoName(err)
	}
	r.put("dmesg.readable", err == nil, "syscall", ref)
	r.put("dmesg.text", text, "syscall", ref)
}

func dmesg() (string, error) {
	size, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil)
	if err != nil {
		return "", err
	}
	buf := make([]byte, max(size, 1<<16))
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, buf)
	if err != nil {
		return "", err
	}
	all := lines(buf[:n])
	return strings.Join(all[:min(len(all), dmesgLines)], "\n"), nil
}
