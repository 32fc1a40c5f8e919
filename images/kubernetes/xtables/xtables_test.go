package xtables

import (
	"errors"
	"testing"
)

func TestMode(t *testing.T) {
	const rules = "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n"
	fails := errors.New("not supported by this kernel")
	tests := []struct {
		name              string
		nft, legacy       string
		nftErr, legacyErr error
		want              string
	}{
		{name: "kubelet's hint in nft", nft: rules, want: "nft"},
		{name: "kubelet's hint in legacy", nft: "*mangle\nCOMMIT\n", legacy: rules, want: "legacy"},
		{name: "no hint", want: "nft"},
		{name: "kernel without nf_tables", nftErr: fails, want: "legacy"},
		{name: "kernel without ip_tables", nft: rules, legacyErr: fails, want: "nft"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := mode(func(backend string) ([]byte, error) {
				if backend == "nft" {
					return []byte(tt.nft), tt.nftErr
				}
				return []byte(tt.legacy), tt.legacyErr
			})
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
