package labprobe

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

const nobody = 65534

func runPrivileges(context.Context, []string) (evidence.Set, error) {
	dir, err := os.MkdirTemp("", "labprobe-")
	if err != nil {
		return nil, evidence.Untestablef("no directory to try in: %v", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // the tries' result stands; the directory is in a temporary place
	tries, err := privilegeTries(dir)
	if err != nil {
		return nil, err
	}
	r := newRecord(privilegesOutputs())
	var denied []string
	for _, p := range privileged {
		answer, err := tries[p.name]()
		if err != nil {
			return nil, fmt.Errorf("try %s: %w", p.name, err)
		}
		if answer == "EPERM" || answer == "EACCES" {
			denied = append(denied, p.name)
		}
		r.put(p.name+".errno", answer, "syscall", p.doc)
	}
	r.put("uid", os.Geteuid(), "syscall", "geteuid(2)")
	r.put("denied", denied, "syscall", "answers EPERM or EACCES")
	r.put("denied.count", len(denied), "syscall", "answers EPERM or EACCES")
	const start = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
	if b, err := os.ReadFile(start); err == nil {
		if port, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			r.put("port.unprivileged", port, "file", start)
		}
	}
	return r.result()
}

// privilegeTries give the name of the errno each. What would change the
// process or the system is done in a child, in namespaces of its own.
func privilegeTries(dir string) (map[string]func() (string, error), error) {
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return nil, evidence.Untestablef("no file to try with: %v", err)
	}
	child := func(keep []any, calls ...rawCall) func() (string, error) {
		return func() (string, error) {
			end, err := inChild(calls, keep...)
			return end.name(), err
		}
	}
	direct := func(f func() error) func() (string, error) {
		return func() (string, error) { return errnoName(f()), nil }
	}
	target, tmpfs, slash, node := cString(dir), cString("tmpfs"), cString("/"), cString(filepath.Join(dir, "null"))
	unshare := func(flag uintptr) rawCall { return rawCall{unix.SYS_UNSHARE, [6]uintptr{flag}} }
	mountTmpfs := rawCall{unix.SYS_MOUNT, [6]uintptr{addressOf(tmpfs), addressOf(target), addressOf(tmpfs), 0, 0}}
	newMounts := child(nil, unshare(unix.CLONE_NEWNS))
	name, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	hostname := cString(name)
	setHostname := rawCall{unix.SYS_SETHOSTNAME, [6]uintptr{addressOf(hostname), uintptr(len(name))}}

	return map[string]func() (string, error){
		"chown":  direct(func() error { return unix.Chown(file, nobody, nobody) }),
		"setuid": child(nil, rawCall{unix.SYS_SETUID, [6]uintptr{nobody}}),
		"setgid": child(nil, rawCall{unix.SYS_SETGID, [6]uintptr{nobody}}),
		"chroot": child([]any{target}, rawCall{unix.SYS_CHROOT, [6]uintptr{addressOf(target)}}),
		"mknod": child([]any{node}, rawCall{unix.SYS_MKNODAT, [6]uintptr{
			^uintptr(0), addressOf(node), unix.S_IFCHR | 0o600, uintptr(unix.Mkdev(1, 3)),
		}}),
		"raw_socket": direct(func() error { return socketClosed(unix.SOCK_RAW, unix.IPPROTO_ICMP, 0) }),
		"bind":       direct(func() error { return socketClosed(unix.SOCK_STREAM, 0, 80) }),
		"unshare":    newMounts,
		"mount": func() (string, error) {
			keep := []any{target, tmpfs, slash}
			answer, err := newMounts()
			if err != nil {
				return "", err
			}
			if answer == "" {
				return child(keep,
					unshare(unix.CLONE_NEWNS),
					rawCall{unix.SYS_MOUNT, [6]uintptr{0, addressOf(slash), 0, unix.MS_REC | unix.MS_PRIVATE, 0}},
					mountTmpfs)()
			}
			return child(keep, mountTmpfs, rawCall{unix.SYS_UMOUNT2, [6]uintptr{addressOf(target), unix.MNT_DETACH}})()
		},
		"sethostname": func() (string, error) {
			answer, err := child(nil, unshare(unix.CLONE_NEWUTS))()
			if err != nil {
				return "", err
			}
			if answer == "" {
				return child([]any{hostname}, unshare(unix.CLONE_NEWUTS), setHostname)()
			}
			return child([]any{hostname}, setHostname)() // the same name: nothing changes
		},
		"reboot": child(nil, syscallTable["reboot"]),
	}, nil
}

// socketClosed opens an IPv4 socket, binds it to a port of loopback unless
// port is 0, and closes it.
func socketClosed(kind, protocol, port int) error {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // nothing was sent
	if port == 0 {
		return nil
	}
	return unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
}

// cString makes a string that ends with a zero byte, for raw calls.
func cString(s string) []byte { return append([]byte(s), 0) }

func addressOf(b []byte) uintptr { return uintptr(unsafe.Pointer(&b[0])) }
