// Package gateway finds the address by which a node speaks to its own Pods.
package gateway

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
)

// network is what counts of a CNI network configuration list whose addresses
// come from host-local (containernetworking/plugins, host-local).
type network struct {
	Plugins []struct {
		Type string `json:"type"`
		IPAM struct {
			Type   string      `json:"type"`
			Subnet string      `json:"subnet"`
			Ranges [][]subnets `json:"ranges"`
		} `json:"ipam"`
	} `json:"plugins"`
}

type subnets struct {
	Subnet  string `json:"subnet"`
	Gateway string `json:"gateway"`
}

// Find gives the IPv4 gateway that the first network of a folder tells Pods,
// which ptp and bridge give to the node's end; not valid where there is none.
func Find(dir string) netip.Addr {
	files, _ := filepath.Glob(filepath.Join(dir, "*.conflist")) // the pattern is a constant
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // replaced just now; another run finds it
		}
		if addr := parse(b); addr.IsValid() {
			return addr
		}
	}
	return netip.Addr{}
}

func parse(conflist []byte) netip.Addr {
	var n network
	if json.Unmarshal(conflist, &n) != nil {
		return netip.Addr{}
	}
	for _, p := range n.Plugins {
		if p.IPAM.Type != "host-local" {
			continue
		}
		ranges := append(p.IPAM.Ranges, []subnets{{Subnet: p.IPAM.Subnet}})
		for _, set := range ranges {
			for _, s := range set {
				if addr, err := netip.ParseAddr(s.Gateway); err == nil && addr.Is4() {
					return addr
				}
				// host-local's default is the first address after the network's.
				if prefix, err := netip.ParsePrefix(s.Subnet); err == nil && prefix.Addr().Is4() {
					return prefix.Masked().Addr().Next()
				}
			}
		}
	}
	return netip.Addr{}
}
