package labprobe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

func runSockets(ctx context.Context, args []string) (evidence.Set, error) {
	p, err := parseSockets(args)
	if err != nil {
		return nil, err
	}
	outputs, err := socketsOutputs(args)
	if err != nil {
		return nil, err
	}
	processes := []string{filepath.Join("/proc", strconv.Itoa(p.pid))}
	if p.pid == 0 {
		if os.Geteuid() != 0 {
			return nil, evidence.Untestablef("the network namespaces of other users' processes need root")
		}
		if processes, err = namespaceProcesses(ctx, "/proc"); err != nil {
			return nil, err
		}
	}
	var sockets []tcpSocket
	seen := map[string]bool{}
	looked := 0
	for _, process := range processes {
		list, err := tcpSockets(process)
		if gone(err) && p.pid == 0 {
			continue // the process ended, and our way into its namespace with it
		}
		if err != nil {
			return nil, err
		}
		looked++
		for _, s := range list {
			if !seen[s.inode] {
				sockets = append(sockets, s)
			}
			seen[s.inode] = s.inode != "0"
		}
	}
	if looked == 0 {
		return nil, errors.New("no network namespace could be looked into")
	}
	count := func(match func(tcpSocket) bool) (n int) {
		for _, s := range sockets {
			if (int(s.local.Port()) == p.port || int(s.remote.Port()) == p.port) && match(s) {
				n++
			}
		}
		return n
	}
	r := newRecord(outputs)
	const ref = "/proc/PID/net/tcp, tcp6"
	r.put("sockets", count(func(tcpSocket) bool { return true }), "file", ref)
	r.put("listening", count(func(s tcpSocket) bool { return s.state == tcpListen }), "file", ref)
	r.put("established", count(func(s tcpSocket) bool { return s.state == tcpEstablished }), "file", ref)
	return r.result()
}

// namespaceProcesses returns the folders of processes that together are in
// every network namespace that a visible process is in: one for each, and
// every process that doesn't tell (they may share one).
func namespaceProcesses(ctx context.Context, proc string) ([]string, error) {
	links, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "ns", "net"))
	if err != nil {
		return nil, err
	}
	var processes []string
	seen := map[string]bool{}
	for _, link := range links {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		namespace, err := os.Readlink(link)
		switch {
		case gone(err):
			continue
		case errors.Is(err, os.ErrPermission):
			namespace = link
		case err != nil:
			return nil, fmt.Errorf("network namespace: %w", err)
		}
		if !seen[namespace] {
			seen[namespace] = true
			processes = append(processes, filepath.Dir(filepath.Dir(link)))
		}
	}
	return processes, nil
}

// gone says that a process ended while it was looked at.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) || errors.Is(err, syscall.EINVAL)
}

// tcpSockets lists the sockets in the network namespace of a process.
func tcpSockets(process string) ([]tcpSocket, error) {
	var sockets []tcpSocket
	for _, name := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(filepath.Join(process, "net", name))
		if name == "tcp6" && errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("TCP sockets: %w", err)
		}
		list, err := parseTCPTable(string(text))
		if err != nil {
			return nil, err
		}
		sockets = append(sockets, list...)
	}
	return sockets, nil
}
