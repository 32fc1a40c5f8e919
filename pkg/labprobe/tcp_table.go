package labprobe

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// tcpSocket is a line of /proc/net/tcp or tcp6.
type tcpSocket struct {
	local, remote netip.AddrPort
	state         byte
	// inode is unique on the machine; 0 where no process has the socket.
	inode string
}

// States of include/net/tcp_states.h.
const (
	tcpEstablished = 1
	tcpListen      = 10
)

// flow writes the socket's addresses as LOCAL > REMOTE.
func (s tcpSocket) flow() string { return flow(s.local, s.remote) }

func flow(from, to netip.AddrPort) string { return from.String() + " > " + to.String() }

// parseTCPTable reads /proc/net/tcp or tcp6 (Documentation/networking/proc_net_tcp.rst).
func parseTCPTable(text string) ([]tcpSocket, error) {
	var sockets []tcpSocket
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 10 || fields[0] == "sl" {
			continue
		}
		local, err1 := parseTableAddress(fields[1])
		remote, err2 := parseTableAddress(fields[2])
		state, err3 := hex.DecodeString(fields[3])
		if err1 != nil || err2 != nil || err3 != nil || len(state) != 1 {
			return nil, fmt.Errorf("no line of a TCP table: %.120q", line)
		}
		sockets = append(sockets, tcpSocket{local, remote, state[0], fields[9]})
	}
	return sockets, nil
}

// parseTableAddress reads 0100007F:1F90: words of 4 bytes, each written as a
// number of a little-endian machine, and the port in network order.
func parseTableAddress(s string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(s, ":")
	ip, err := hex.DecodeString(host)
	if err != nil || len(ip)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("address %q", s)
	}
	for word := range slices.Chunk(ip, 4) {
		slices.Reverse(word)
	}
	addr, ok := netip.AddrFromSlice(ip)
	p, err := hex.DecodeString(port)
	if !ok || err != nil || len(p) != 2 {
		return netip.AddrPort{}, fmt.Errorf("address %q", s)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(p[0])<<8|uint16(p[1])), nil
}
