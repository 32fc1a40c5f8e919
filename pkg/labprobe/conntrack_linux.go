package labprobe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	nfnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

func runConntrackExhaust(ctx context.Context, args []string) (evidence.Set, error) {
	p, err := parseConntrackExhaust(args)
	if err != nil {
		return nil, err
	}
	outputs, err := conntrackExhaustOutputs(args)
	if err != nil {
		return nil, err
	}
	n, err := newNetwork()
	if err != nil {
		return nil, err
	}
	defer n.close()
	const first = 40000
	if err := translateSource(n.router, first, uint16(first+p.ports-1)); err != nil {
		return nil, err
	}
	l, err := n.listen(ctx, "0")
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }()
	before, err := conntrackStats(n.router)
	if err != nil {
		return nil, err
	}
	// Two first packets that are on their way at the same moment can be given
	// the same port, and the second is dropped as an insert_failed although
	// ports are free. So flows for which there is a port come one after the
	// other, and only those beyond, which wait in vain, all at once.
	some := min(p.flows, p.ports)
	conns, failed := flows(ctx, n.client, some, 1, l.Addr().String())
	defer closeAll(conns)
	conns, beyond := flows(ctx, n.client, p.flows-some, p.flows, l.Addr().String())
	defer closeAll(conns)
	failed = append(failed, beyond...)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	after, err := conntrackStats(n.router)
	if err != nil {
		return nil, err
	}
	r := newRecord(outputs)
	r.put("ports", p.ports, "program", "arguments")
	r.put("flows", p.flows, "program", "arguments")
	r.put("connected", p.flows-len(failed), "syscall", "connect")
	for _, name := range []string{"insert_failed", "drop", "early_drop"} {
		r.put(name, after[name]-before[name], "counter", "ctnetlink, as conntrack -S")
	}
	said := ""
	if len(failed) > 0 {
		said = failed[0]
	}
	r.put("client.error", said, "syscall", "connect")
	return r.result()
}

// flows opens n connections, at most atOnce of them at the same time, and
// leaves them open. It returns them and what those say that failed.
func flows(ctx context.Context, client netns.NsHandle, n, atOnce int, address string) (conns []net.Conn, failed []string) {
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result, n)
	turns := make(chan struct{}, atOnce)
	for range n {
		go func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			conn, err := in(client, func() (net.Conn, error) {
				// A SYN is sent again after 1 s and 3 s.
				d := net.Dialer{Timeout: 4 * time.Second}
				return d.DialContext(ctx, "tcp4", address)
			})
			results <- result{conn, err}
		}()
	}
	for range n {
		res := <-results
		if res.err == nil {
			conns = append(conns, res.conn)
			continue
		}
		name := errnoName(res.err)
		var timeout net.Error
		if errors.As(res.err, &timeout) && timeout.Timeout() {
			name = "timeout"
		}
		failed = append(failed, name)
	}
	return conns, failed
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		_ = c.Close()
	}
}

// Names of conntrack's counters by attribute (enum ctattr_stats_cpu of
// linux/netfilter/nfnetlink_conntrack.h).
var conntrackCounters = map[uint16]string{
	9: "insert_failed", 10: "drop", 11: "early_drop",
}

// conntrackStats adds up conntrack's counters over the CPUs, asked as
// conntrack -S does (IPCTNL_MSG_CT_GET_STATS_CPU).
func conntrackStats(ns netns.NsHandle) (map[string]int64, error) {
	const getStatsCPU = 4
	const nfgenmsgSize = 4 // struct nfgenmsg of linux/netfilter/nfnetlink.h
	c, err := nfnetlink.Dial(unix.NETLINK_NETFILTER, &nfnetlink.Config{NetNS: int(ns)})
	if err != nil {
		return nil, fmt.Errorf("netfilter netlink: %w", err)
	}
	defer func() { _ = c.Close() }()
	messages, err := c.Execute(nfnetlink.Message{
		Header: nfnetlink.Header{
			Type:  unix.NFNL_SUBSYS_CTNETLINK<<8 | getStatsCPU,
			Flags: nfnetlink.Request | nfnetlink.Dump,
		},
		Data: make([]byte, nfgenmsgSize),
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, evidence.Untestablef("this kernel has no conntrack netlink (CONFIG_NF_CT_NETLINK): %v", err)
	}
	if err != nil {
		return nil, fmt.Errorf("conntrack's counters: %w", err)
	}
	stats := map[string]int64{}
	for _, m := range messages {
		ad, err := nfnetlink.NewAttributeDecoder(m.Data[min(nfgenmsgSize, len(m.Data)):])
		if err != nil {
			return nil, fmt.Errorf("conntrack's counters: %w", err)
		}
		ad.ByteOrder = binary.BigEndian
		for ad.Next() {
			if name, ok := conntrackCounters[ad.Type()]; ok {
				stats[name] += int64(ad.Uint32())
			}
		}
		if err := ad.Err(); err != nil {
			return nil, fmt.Errorf("conntrack's counters: %w", err)
		}
	}
	for _, name := range conntrackCounters {
		if _, ok := stats[name]; !ok {
			return nil, fmt.Errorf("conntrack's counters have no %s in %d messages", name, len(messages))
		}
	}
	return stats, nil
}

func runFlowJoin(ctx context.Context, args []string) (evidence.Set, error) {
	p, err := parseFlowJoin(args)
	if err != nil {
		return nil, err
	}
	outputs, err := flowJoinOutputs(args)
	if err != nil {
		return nil, err
	}
	n, err := newNetwork()
	if err != nil {
		return nil, err
	}
	defer n.close()
	l, err := n.listen(ctx, "8080")
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }()
	target := l.Addr().(*net.TCPAddr)
	service := &net.TCPAddr{IP: serviceIP, Port: 80}
	if err := translateDestination(n.router, service, target); err != nil {
		return nil, err // also with --direct: conntrack works only where a rule wants it
	}
	if !p.direct {
		target = service
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, err := in(n.client, func() (net.Conn, error) { return dial(ctx, target.String()) })
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	app := flow(conn.LocalAddr().(*net.TCPAddr).AddrPort(), conn.RemoteAddr().(*net.TCPAddr).AddrPort())

	client, err := establishedSocket(n.client)
	if err != nil {
		return nil, fmt.Errorf("the client's socket: %w", err)
	}
	server, err := establishedSocket(n.server)
	if err != nil {
		return nil, fmt.Errorf("the server's socket: %w", err)
	}
	tracked, err := trackedFlow(n.router, conn)
	if err != nil {
		return nil, err
	}
	// From the client's side the server's socket is the other way round.
	behind := flow(server.remote, server.local)
	r := newRecord(outputs)
	r.put("client.app", app, "syscall", "getsockname, getpeername")
	r.put("client.socket", client.flow(), "file", "/proc/net/tcp of the client's network namespace")
	r.put("server.socket", behind, "file", "/proc/net/tcp of the server's network namespace")
	r.put("conntrack", tracked, "program", "ctnetlink of the router's network namespace")
	r.put("join.client", app == client.flow(), "program", "comparison")
	r.put("join.server", app == behind, "program", "comparison")
	r.put("join.conntrack", tracked == behind, "program", "comparison")
	return r.result()
}

// establishedSocket returns the one connected TCP socket of a namespace.
func establishedSocket(ns netns.NsHandle) (tcpSocket, error) {
	sockets, err := in(ns, func() ([]tcpSocket, error) { return tcpSockets("/proc/thread-self") })
	if err != nil {
		return tcpSocket{}, err
	}
	sockets = slices.DeleteFunc(sockets, func(s tcpSocket) bool { return s.state != tcpEstablished })
	if len(sockets) != 1 {
		return tcpSocket{}, fmt.Errorf("%d connected TCP sockets in a namespace that has one", len(sockets))
	}
	return sockets[0], nil
}

// trackedFlow looks a connection up in conntrack by the application's
// addresses, and returns it as it is behind NAT: the reply's other way round.
func trackedFlow(ns netns.NsHandle, conn net.Conn) (string, error) {
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_NETFILTER)
	if err != nil {
		return "", fmt.Errorf("netfilter netlink: %w", err)
	}
	defer h.Close()
	entries, err := h.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	if err != nil {
		return "", fmt.Errorf("conntrack's table: %w", err)
	}
	local, remote := conn.LocalAddr().(*net.TCPAddr).AddrPort(), conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	for _, e := range entries {
		if e.Forward.Protocol == unix.IPPROTO_TCP &&
			addrPort(e.Forward.SrcIP, e.Forward.SrcPort) == local &&
			addrPort(e.Forward.DstIP, e.Forward.DstPort) == remote {
			return flow(addrPort(e.Reverse.DstIP, e.Reverse.DstPort), addrPort(e.Reverse.SrcIP, e.Reverse.SrcPort)), nil
		}
	}
	return "", fmt.Errorf("conntrack has no entry for %s among %d", flow(local, remote), len(entries))
}

func addrPort(ip net.IP, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr.Unmap(), port)
}
