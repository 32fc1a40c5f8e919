package apiserver

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// reservePort takes a free TCP port of 127.0.0.1. The socket is bound but
// doesn't listen, and shares its port with other sockets of the same user
// that ask for it (SO_REUSEPORT, socket(7)): so no other program can get the
// port before kube-apiserver does (--permit-port-sharing).
func reservePort() (port int, release func(), err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return 0, nil, fmt.Errorf("a port for the API server: %w", err)
	}
	unix.CloseOnExec(fd)
	release = func() { _ = unix.Close(fd) } // nothing was written
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	var name unix.Sockaddr
	if err == nil {
		name, err = unix.Getsockname(fd)
	}
	if in, ok := name.(*unix.SockaddrInet4); ok {
		return in.Port, release, nil
	}
	release()
	return 0, nil, fmt.Errorf("a port for the API server on 127.0.0.1: %w", errors.Join(err, unix.EADDRNOTAVAIL))
}
