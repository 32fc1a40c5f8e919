package labprobe

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// addRule puts one rule on a hook of a namespace of our own. It goes with
// the namespace.
func addRule(ns netns.NsHandle, hook *nftables.ChainHook, prio *nftables.ChainPriority, kind nftables.ChainType, rule ...expr.Any) error {
	c, err := nftables.New(nftables.WithNetNSFd(int(ns)))
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "labprobe"})
	chain := c.AddChain(&nftables.Chain{Table: table, Name: "rules", Type: kind, Hooknum: hook, Priority: prio})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: rule})
	err = c.Flush()
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT):
		return evidence.Untestablef("the kernel lacks a part of nftables that this needs (nat, numgen): %v", err)
	case errors.Is(err, os.ErrPermission):
		return evidence.Untestablef("nftables rules need CAP_NET_ADMIN: %v", err)
	case err != nil:
		return fmt.Errorf("nftables rule: %w", err)
	}
	return nil
}

// loseData drops a share of the client's data packets on the way to the
// server, in percent. Handshakes and bare acknowledgements (up to 100 bytes)
// pass: their loss costs seconds and shows nothing more.
func loseData(ns netns.NsHandle, percent int) error {
	return addRule(ns, nftables.ChainHookForward, nftables.ChainPriorityFilter, nftables.ChainTypeFilter,
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}, // source address
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: clientIP},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 2, Len: 2}, // total length
		&expr.Cmp{Op: expr.CmpOpGt, Register: 1, Data: binaryutil.BigEndian.PutUint16(100)},
		&expr.Numgen{Register: 1, Modulus: 100, Type: unix.NFT_NG_RANDOM},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4}, // Cmp compares bytes
		&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binaryutil.BigEndian.PutUint32(uint32(percent))},
		&expr.Verdict{Kind: expr.VerdictDrop},
	)
}

// translateSource gives the client's TCP flows the router's address and one
// of the ports first to last.
func translateSource(ns netns.NsHandle, first, last uint16) error {
	return addRule(ns, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, nftables.ChainTypeNAT,
		append(isTCP(),
			&expr.Immediate{Register: 1, Data: routerServerIP},
			&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(first)},
			&expr.Immediate{Register: 3, Data: binaryutil.BigEndian.PutUint16(last)},
			&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, RegProtoMax: 3, Specified: true},
		)...)
}

// translateDestination sends TCP flows to from on to to, as a Service does.
func translateDestination(ns netns.NsHandle, from, to *net.TCPAddr) error {
	return addRule(ns, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest, nftables.ChainTypeNAT,
		append(isTCP(),
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}, // destination address
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: from.IP.To4()},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, // destination port
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(uint16(from.Port))},
			&expr.Immediate{Register: 1, Data: to.IP.To4()},
			&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(uint16(to.Port))},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, Specified: true},
		)...)
}

func isTCP() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
	}
}
