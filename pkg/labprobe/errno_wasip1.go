package labprobe

import (
	"fmt"
	"syscall"
)

// symbols are the error codes that WASI hosts give programs most; numbers are
// those of WASI preview 1, not of Linux.
var symbols = map[syscall.Errno]string{
	syscall.EACCES: "EACCES", syscall.EAGAIN: "EAGAIN", syscall.EBADF: "EBADF",
	syscall.ECONNREFUSED: "ECONNREFUSED", syscall.EEXIST: "EEXIST", syscall.EINVAL: "EINVAL",
	syscall.EIO: "EIO", syscall.EISDIR: "EISDIR", syscall.ELOOP: "ELOOP", syscall.ENOENT: "ENOENT",
	syscall.ENOSYS: "ENOSYS", syscall.ENOTDIR: "ENOTDIR", syscall.ENOTSUP: "ENOTSUP",
	syscall.ENOTCAPABLE: "ENOTCAPABLE", syscall.EPERM: "EPERM", syscall.EROFS: "EROFS",
	syscall.ENOTSOCK: "ENOTSOCK", syscall.ENOMEM: "ENOMEM", syscall.EFAULT: "EFAULT",
}

func symbol(errno syscall.Errno) string {
	if errno == 0 {
		return ""
	}
	if name, ok := symbols[errno]; ok {
		return name
	}
	return fmt.Sprintf("errno %d", int(errno))
}
