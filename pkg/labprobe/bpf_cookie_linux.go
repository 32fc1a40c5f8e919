package labprobe

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

func runBPFCookie(ctx context.Context, args []string) (evidence.Set, error) {
	outputs, err := bpfCookieOutputs(args)
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	defer func() { _ = l.Close() }()
	seen, detach, err := watchCookies()
	if err != nil {
		return nil, err
	}
	defer detach()

	var app, kernel [2]uint64
	for i := range app {
		conn, err := dial(ctx, l.Addr().String())
		if err != nil {
			return nil, err
		}
		defer func() { _ = conn.Close() }()
		if app[i], err = socketCookie(conn.(*net.TCPConn)); err != nil {
			return nil, err
		}
		key := portPair(conn)
		if err := seen.Lookup(key, &kernel[i]); err != nil {
			return nil, fmt.Errorf("no event of the connection from port %d to %d: %w", key[0], key[1], err)
		}
	}
	r := newRecord(outputs)
	const socket, program = "getsockopt SO_COOKIE", "bpf_get_socket_cookie in tp_btf/inet_sock_set_state"
	r.put("app", int64(app[0]), "syscall", socket)
	r.put("kernel", int64(kernel[0]), "program", program)
	r.put("equal", app[0] == kernel[0], "program", "comparison")
	r.put("other.app", int64(app[1]), "syscall", socket)
	r.put("other.kernel", int64(kernel[1]), "program", program)
	r.put("distinct", app[0] != app[1] && kernel[0] != kernel[1], "program", "comparison")
	return r.result()
}

// portPair is a connection's local and remote port, the key of watchCookies.
func portPair(c net.Conn) [2]uint32 {
	return [2]uint32{uint32(c.LocalAddr().(*net.TCPAddr).Port), uint32(c.RemoteAddr().(*net.TCPAddr).Port)}
}

func socketCookie(c *net.TCPConn) (uint64, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cookie uint64
	var sockErr error
	err = raw.Control(func(fd uintptr) {
		cookie, sockErr = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE)
	})
	if err := errors.Join(err, sockErr); err != nil {
		return 0, fmt.Errorf("getsockopt SO_COOKIE: %w", err)
	}
	return cookie, nil
}

// watchCookies attaches a program to every change of a TCP socket's state
// that keeps, for each pair of ports, the cookie of the latest socket which
// became established.
func watchCookies() (seen *ebpf.Map, detach func(), err error) {
	if err := memlock(); err != nil {
		return nil, nil, bpfError("memory for eBPF", err)
	}
	num, dport, err := portOffsets()
	if err != nil {
		return nil, nil, err
	}
	seen, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.LRUHash, KeySize: 8, ValueSize: 8, MaxEntries: 4096})
	if err != nil {
		return nil, nil, bpfError("a map of eBPF", err)
	}
	defer func() {
		if err != nil {
			_ = seen.Close() // nothing refers to it
		}
	}()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "inet_sock_set_state",
		License: license,
		Instructions: asm.Instructions{
			// Arguments: struct sock *sk, int oldstate, int newstate.
			asm.LoadMem(asm.R6, asm.R1, 0, asm.DWord),
			asm.LoadMem(asm.R7, asm.R1, 16, asm.DWord),
			asm.JNE.Imm32(asm.R7, unix.BPF_TCP_ESTABLISHED, "out"),
			asm.LoadMem(asm.R2, asm.R6, num, asm.Half), // host byte order
			asm.StoreMem(asm.RFP, -16, asm.R2, asm.Word),
			asm.LoadMem(asm.R2, asm.R6, dport, asm.Half),
			asm.HostTo(asm.BE, asm.R2, asm.Half),
			asm.StoreMem(asm.RFP, -12, asm.R2, asm.Word),
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.FnGetSocketCookie.Call(),
			asm.StoreMem(asm.RFP, -8, asm.R0, asm.DWord),
			asm.LoadMapPtr(asm.R1, seen.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -16),
			asm.Mov.Reg(asm.R3, asm.RFP),
			asm.Add.Imm(asm.R3, -8),
			asm.Mov.Imm(asm.R4, 0), // BPF_ANY
			asm.FnMapUpdateElem.Call(),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
			asm.Return(),
		},
	})
	if err != nil {
		return nil, nil, bpfError("load a program on inet_sock_set_state", err)
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: program})
	if err != nil {
		_ = program.Close() // it is attached nowhere
		return nil, nil, bpfError("attach to inet_sock_set_state", err)
	}
	return seen, func() {
		// Closing the last reference detaches; the kernel does it at exit, too.
		_ = l.Close()
		_ = program.Close()
		_ = seen.Close()
	}, nil
}

// portOffsets finds the ports in the running kernel's struct sock, by its BTF.
func portOffsets() (num, dport int16, err error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return 0, 0, evidence.Untestablef("this kernel has no BTF (CONFIG_DEBUG_INFO_BTF): %v", err)
	}
	var common *btf.Struct
	if err := spec.TypeByName("sock_common", &common); err != nil {
		return 0, 0, fmt.Errorf("struct sock_common in BTF: %w", err)
	}
	offsets := map[string]int16{}
	memberOffsets(common, 0, offsets)
	for _, name := range []string{"skc_num", "skc_dport"} {
		if _, ok := offsets[name]; !ok {
			return 0, 0, fmt.Errorf("struct sock_common has no member %s", name)
		}
	}
	return offsets["skc_num"], offsets["skc_dport"], nil
}

// memberOffsets collects the byte offsets of members by name; members of
// anonymous structs and unions count as the struct's own, as in C.
func memberOffsets(t btf.Type, base uint32, offsets map[string]int16) {
	var members []btf.Member
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		members = t.Members
	case *btf.Union:
		members = t.Members
	}
	for _, m := range members {
		at := base + m.Offset.Bytes()
		if m.Name == "" {
			memberOffsets(m.Type, at, offsets)
			continue
		}
		offsets[m.Name] = int16(at)
	}
}
