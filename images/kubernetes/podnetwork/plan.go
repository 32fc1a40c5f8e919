package podnetwork

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// plan is what one node's network has to look like.
type plan struct {
	// own are the ranges of this node's Pods, one a family.
	own []netip.Prefix
	// routes maps the Pod ranges of the other nodes to their addresses.
	routes map[netip.Prefix]netip.Addr
	// nodes are the addresses of all nodes.
	nodes []netip.Addr
}

// makePlan reads it off the Node objects. Nodes that have no Pod range or no
// address yet are left out; they come with a later event.
func makePlan(self string, all []*corev1.Node) plan {
	p := plan{routes: map[netip.Prefix]netip.Addr{}}
	for _, n := range all {
		ranges, addrs := podRanges(n), internalIPs(n)
		p.nodes = append(p.nodes, addrs...)
		if n.Name == self {
			p.own = ranges
			continue
		}
		for _, r := range ranges {
			via := slices.IndexFunc(addrs, func(a netip.Addr) bool { return a.Is4() == r.Addr().Is4() })
			if via >= 0 {
				p.routes[r] = addrs[via]
			}
		}
	}
	slices.SortFunc(p.nodes, netip.Addr.Compare)
	return p
}

func podRanges(n *corev1.Node) []netip.Prefix {
	cidrs := n.Spec.PodCIDRs
	if len(cidrs) == 0 && n.Spec.PodCIDR != "" {
		cidrs = []string{n.Spec.PodCIDR}
	}
	var out []netip.Prefix
	for _, c := range cidrs {
		if r, err := netip.ParsePrefix(c); err == nil {
			out = append(out, r.Masked())
		}
	}
	return out
}

func internalIPs(n *corev1.Node) []netip.Addr {
	var out []netip.Addr
	for _, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if ip, err := netip.ParseAddr(a.Address); err == nil {
			out = append(out, ip)
		}
	}
	return out
}

// conflist is the CNI configuration (CNI specification 0.3.1, which every
// release of the plug-ins reads) that gives Pods of this node a veth pair, an
// address of the node's range and host ports. Masquerading is left to the
// rules below, which know the whole cluster.
func conflist(own []netip.Prefix, mtu int) ([]byte, error) {
	type m = map[string]any
	var ranges [][]m
	var routes []m
	for _, r := range own {
		everywhere := "0.0.0.0/0"
		if r.Addr().Is6() {
			everywhere = "::/0"
		}
		ranges = append(ranges, []m{{"subnet": r.String()}})
		routes = append(routes, m{"dst": everywhere})
	}
	return json.MarshalIndent(m{
		"cniVersion": "0.3.1",
		"name":       "podnetwork",
		"plugins": []m{
			{
				"type": "ptp", "ipMasq": false, "mtu": mtu,
				"ipam": m{"type": "host-local", "dataDir": "/run/cni-ipam-state", "ranges": ranges, "routes": routes},
			},
			{"type": "portmap", "capabilities": m{"portMappings": true}},
		},
	}, "", "  ")
}

// chain holds the masquerading rules; it is ours alone.
const chain = "PODNETWORK-MASQ"

// masquerade is the input of `iptables-restore --noflush` for one family: Pod
// traffic to Pods and nodes keeps its source address, everything else that
// leaves the cluster gets the node's. Naming the chain empties it first, so
// the rules change as one.
func masquerade(pods []netip.Prefix, nodes []netip.Addr, six bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*nat\n:%s - [0:0]\n", chain)
	var mine []netip.Prefix
	for _, p := range pods {
		if p.Addr().Is6() == six {
			mine = append(mine, p)
			fmt.Fprintf(&b, "-A %s -d %s -j RETURN\n", chain, p)
		}
	}
	for _, n := range nodes {
		if n.Is6() == six {
			fmt.Fprintf(&b, "-A %s -d %s -j RETURN\n", chain, n)
		}
	}
	for _, p := range mine {
		fmt.Fprintf(&b, "-A %s -s %s -j MASQUERADE\n", chain, p)
	}
	b.WriteString("COMMIT\n")
	return b.String()
}
