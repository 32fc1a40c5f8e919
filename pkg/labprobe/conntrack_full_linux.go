package labprobe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	nfnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// conntrackSize is about what the kernel keeps for an entry: struct nf_conn
// and its extensions.
const conntrackSize = 320

func runConntrackFull(ctx context.Context, args []string) (evidence.Set, error) {
	p, err := parseConntrackFull(args)
	if err != nil {
		return nil, err
	}
	outputs, err := conntrackFullOutputs(args)
	if err != nil {
		return nil, err
	}
	n, err := newNetwork()
	if err != nil {
		return nil, err
	}
	defer n.close()
	limit, err := in(n.router, conntrackMax)
	if err != nil {
		return nil, err
	}
	if limit > p.limit {
		return nil, evidence.Untestablef("the table takes %d entries here (nf_conntrack_max), to fill it takes %d MiB of the kernel's memory; --limit %d", limit, limit*conntrackSize>>20, p.limit)
	}
	// Any rule that wants connections makes the kernel track them.
	if err := translateSource(n.router, 40000, 50000); err != nil {
		return nil, err
	}
	l, err := n.listen(ctx, "0")
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }()
	connect := func() (string, error) {
		conns, failed := flows(ctx, n.client, 1, 1, l.Addr().String())
		closeAll(conns)
		if len(failed) == 0 {
			return "open", ctx.Err()
		}
		return failed[0], ctx.Err()
	}
	r := newRecord(outputs)
	r.put("limit", limit, "file", "/proc/sys/net/netfilter/nf_conntrack_max")
	outcome := func(name string) error {
		said, err := connect()
		r.put(name, said, "syscall", "connect")
		return err
	}
	if err := outcome("before"); err != nil {
		return nil, err
	}
	entries, refusal, err := fillConntrack(ctx, n.router, limit+1)
	if err != nil {
		return nil, err
	}
	r.put("entries", entries, "program", "ctnetlink, as conntrack -I")
	r.put("refusal", refusal, "program", "ctnetlink, as conntrack -I")
	before, err := conntrackStats(n.router)
	if err != nil {
		return nil, err
	}
	if err := outcome("full"); err != nil {
		return nil, err
	}
	after, err := conntrackStats(n.router)
	if err != nil {
		return nil, err
	}
	r.put("drop", after["drop"]-before["drop"], "counter", "ctnetlink, as conntrack -S")
	if err := flushConntrack(n.router); err != nil {
		return nil, err
	}
	if err := outcome("flushed"); err != nil {
		return nil, err
	}
	return r.result()
}

// conntrackMax reads how many entries a network namespace may have. The
// sysctl is the machine's, the count is each namespace's own.
func conntrackMax() (int, error) {
	const sysctl = "/proc/sys/net/netfilter/nf_conntrack_max"
	b, err := os.ReadFile(sysctl)
	if errors.Is(err, os.ErrNotExist) {
		return 0, evidence.Untestablef("this kernel tracks no connections: %v", err)
	}
	if err != nil {
		return 0, fmt.Errorf("read the limit of conntrack: %w", err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", sysctl, err)
	}
	if limit == 0 {
		return 0, evidence.Untestablef("nf_conntrack_max is 0: the table has no limit")
	}
	return limit, nil
}

// fillConntrack adds entries of connections that are established until there
// are n, or the kernel takes no more and says why.
func fillConntrack(ctx context.Context, ns netns.NsHandle, n int) (entries int, refusal string, err error) {
	c, err := nfnetlink.Dial(unix.NETLINK_NETFILTER, &nfnetlink.Config{NetNS: int(ns)})
	if err != nil {
		return 0, "", fmt.Errorf("netfilter netlink: %w", err)
	}
	defer func() { _ = c.Close() }()
	const batch = 128 // messages of 140 bytes, far below a socket's buffer
	for entries < n {
		if err := ctx.Err(); err != nil {
			return entries, "", err
		}
		count := min(batch, n-entries)
		messages := make([]nfnetlink.Message, count)
		for i := range messages {
			data, err := trackedEntry(entries + i)
			if err != nil {
				return entries, "", fmt.Errorf("conntrack entry: %w", err)
			}
			messages[i] = nfnetlink.Message{
				Header: nfnetlink.Header{
					Type:  unix.NFNL_SUBSYS_CTNETLINK << 8, // IPCTNL_MSG_CT_NEW is 0
					Flags: nfnetlink.Request | nfnetlink.Create | nfnetlink.Excl | nfnetlink.Acknowledge,
				},
				Data: data,
			}
		}
		if _, err := c.SendMessages(messages); err != nil {
			return entries, "", fmt.Errorf("add to conntrack: %w", err)
		}
		for acknowledged := 0; acknowledged < count; {
			replies, err := c.Receive()
			if errors.Is(err, unix.ENOMEM) {
				return entries, errnoName(err), nil
			}
			if err != nil {
				return entries, "", fmt.Errorf("add to conntrack: %w", err)
			}
			acknowledged += len(replies)
			entries += len(replies)
		}
	}
	return entries, "", nil
}

// Attributes and status bits of linux/netfilter/nfnetlink_conntrack.h and
// nf_conntrack_common.h.
const (
	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaStatus     = 3
	ctaTimeout    = 7

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaIPSrc      = 1
	ctaIPDst      = 2
	ctaProtoNum   = 1
	ctaProtoSrc   = 2
	ctaProtoDst   = 3

	ipsSeenReply = 1 << 1
	ipsAssured   = 1 << 2 // not evicted early where the table is full
	ipsConfirmed = 1 << 3
)

// trackedEntry is the message that adds the nth TCP connection, each with
// another source.
func trackedEntry(n int) ([]byte, error) {
	const ports = 60000
	address := binary.BigEndian.Uint32([]byte{10, 80, 0, 1}) + uint32(n/ports)
	source := netip.AddrPortFrom(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, address))), uint16(1024+n%ports))
	target := netip.AddrPortFrom(netip.AddrFrom4([4]byte(serviceIP)), 80)
	e := nfnetlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	e.Nested(ctaTupleOrig, tuple(source, target))
	e.Nested(ctaTupleReply, tuple(target, source))
	e.Uint32(ctaStatus, ipsSeenReply|ipsAssured|ipsConfirmed)
	e.Uint32(ctaTimeout, 600)
	attributes, err := e.Encode()
	// struct nfgenmsg: family, version 0, resource 0.
	return append([]byte{unix.AF_INET, 0, 0, 0}, attributes...), err
}

func tuple(from, to netip.AddrPort) func(*nfnetlink.AttributeEncoder) error {
	return func(e *nfnetlink.AttributeEncoder) error {
		e.Nested(ctaTupleIP, func(e *nfnetlink.AttributeEncoder) error {
			e.Bytes(ctaIPSrc, from.Addr().AsSlice())
			e.Bytes(ctaIPDst, to.Addr().AsSlice())
			return nil
		})
		e.Nested(ctaTupleProto, func(e *nfnetlink.AttributeEncoder) error {
			e.ByteOrder = binary.BigEndian
			e.Uint8(ctaProtoNum, unix.IPPROTO_TCP)
			e.Uint16(ctaProtoSrc, from.Port())
			e.Uint16(ctaProtoDst, to.Port())
			return nil
		})
		return nil
	}
}

func flushConntrack(ns netns.NsHandle) error {
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("netfilter netlink: %w", err)
	}
	defer h.Close()
	if err := h.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		return fmt.Errorf("empty conntrack's table: %w", err)
	}
	return nil
}
